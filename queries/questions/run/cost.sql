-- What did features and probes cost?
--
-- It counts the features in use and the current cells, in seconds of one worker; on several workers less time passes.
-- The features' seconds are images / images_per_second, a rate that the last run that extracted them measured; they
-- come from the store's images alone, so they belong to the setting `fixed`, however many probes read them.
--
-- Grain: one row per setting, model and dataset with a result or, in the setting fixed, stored features.
-- Columns:
--   setting  fixed, finetuned or scratch
--   model  name
--   dataset  name
--   images  of all splits that went through the network, unreadable ones included; null where it is not known
--   images_per_second  of one worker, decoding included; null where nothing was measured
--   feature_seconds  extracting; null where images or their rate are not known
--   feature_bytes  of the stored files, all taps and splits; null where there are none, or nobody listed them
--   n_cells  results of any probe
--   cell_seconds  choosing, refitting and scoring, summed over cells; null where no cell says
--   seconds  feature_seconds + cell_seconds, as far as they are known
-- Example: probestore query cost --format csv

with final as (
    select * from costs() order by setting, model, dataset
)

select * from final
