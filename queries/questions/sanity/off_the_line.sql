-- Which models are far off the line between source accuracy and transfer?
--
-- These are rows of `transfer_residuals`, which says what the line and p are. A model that is far below was perhaps shown
-- images in another size or scale than it was trained with, or has other weights than its name says; one far above may
-- have been trained on the test images.
--
-- Why 0.001 and 0.5: one study in twenty has a model with p_holm <= 0.05 where nothing is wrong. A residual of 0.5 means
-- odds 1.65 times as high or low. In the paper's own grid of 16 models and 12 datasets, in three settings, the largest
-- residual is 0.19 and the smallest p_holm 0.12.
--
-- Grain: one row per compared model, the farthest first.
-- Columns:
--   model  name
--   source_value  the source metric
--   logit  mean log-odds over datasets
--   predicted  height of the line at its source metric, log-odds
--   residual  logit less predicted, log-odds
--   p_holm  of the externally studentised residual, adjusted for the number of models (Holm)
--   n_models  models that the line goes through
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
--   p_holm = 0.001::DOUBLE  at most, and
--   residual = 0.5::DOUBLE  at least, in either direction
-- Example: probestore query off_the_line -p p_holm=0.05

with final as (
    select model, value as source_value, logit, predicted, residual, p_holm, n_models
    from off_the_line($setting, $probe, $tap, $n_per_class, $source, $p_holm, $residual)
    join source_metrics using (model)
    where source = $source
    order by abs(residual) desc, model
)

select * from final
