-- How many images per second did one worker put through each model?
--
-- Grain: one row per study, model, tap, dataset and split.
select model, dataset, images_per_second from progress where stage = 'features'
