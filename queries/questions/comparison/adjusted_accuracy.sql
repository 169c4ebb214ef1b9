-- How far is each model above or below the others, on each dataset and over all?
--
-- The answer has log-odds less their mean over models, dataset by dataset, so that easy and hard datasets count alike.
-- It compares the models and datasets that form the largest block without holes (macro `compared` in
-- shared/macros.sql).
--
-- Grain: one row per compared model and dataset.
-- Columns:
--   model  name
--   dataset  name
--   value  headline metric, a fraction
--   logit  its log-odds; 0 and 1 are moved inwards by half a test image
--   dataset_logit  mean log-odds of the compared models on this dataset
--   adjusted  logit less dataset_logit
--   model_adjusted  mean of adjusted over the datasets
--   model_standard_error  of model_adjusted, over datasets (Morey 2008); null with one dataset or one model
--   n_models  models compared
--   n_datasets  datasets compared
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query adjusted_accuracy -p n_per_class=10

with final as (
    select
        model,
        dataset,
        value,
        logit,
        dataset_logit,
        cells.adjusted,
        over_datasets.adjusted as model_adjusted,
        over_datasets.standard_error as model_standard_error,
        over_datasets.n_models,
        n_datasets
    from adjusted($setting, $probe, $tap, $n_per_class) as cells
    join model_scores($setting, $probe, $tap, $n_per_class) as over_datasets using (model)
    order by model_adjusted desc, model, dataset
)

select * from final
