-- How many seconds did a probe take on a dataset, in the mean over models?
--
-- Grain: one row per probe, number of images per class and dataset.
select probe, n_per_class, dataset, avg(seconds) as seconds
from (select distinct cell, probe, n_per_class, dataset, seconds from stored_results where origin is null)
group by all
