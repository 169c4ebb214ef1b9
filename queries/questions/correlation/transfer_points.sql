-- Where does each model lie in the plot of transfer against source accuracy?
--
-- The panel `mean over datasets` holds the compared models (macro `compared` in shared/macros.sql), the panel of a
-- dataset every model scored on it. Models whose source metric is not known are left out; for a source that no model
-- has, all are.
--
-- Grain: one row per panel and model.
-- Columns:
--   panel  `mean over datasets` or a dataset
--   model  name
--   source_value  the source metric
--   source_x  where it lies on its axis: log-odds of a fraction, log10 of a size, else the value
--   logit  log-odds of the headline metric
--   standard_error  of logit over datasets (Morey 2008); null in the panel of a dataset
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
-- Example: probestore query transfer_points -p setting=finetuned --format csv

with final as (
    from transfer_points($setting, $probe, $tap, $n_per_class, $source) order by panel, model
)

select * from final
