-- What does pretraining gain over training from scratch, and does the gain shrink with the size of the training set?
--
-- The gain is the difference in the headline metric's log-odds, fine-tuned or fixed features less training from
-- scratch, averaged over the models that have both scores.
--
-- Grain: one row per dataset that some model was scored on in both settings.
-- Columns:
--   dataset  name
--   n_train  training and validation images of the full task; null where they are not known
--   finetuned_gain  mean over models of fine-tuned less random initialisation, log-odds; null without such models
--   finetuned_standard_error  of that mean, over models; null below two
--   finetuned_models  models with both scores
--   fixed_gain  mean over models of fixed features less random initialisation, log-odds; null without such models
--   fixed_standard_error  of that mean, over models; null below two
--   fixed_models  models with both scores
-- Parameters:
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
-- Example: probestore query pretraining_gain

with gains as (
    select
        dataset,
        setting,
        avg(difference order by model) as gain,
        stddev_samp(difference order by model) / sqrt(count(*)) as standard_error,
        count(*) as n_models
    from setting_pairs($probe, $tap, $n_per_class)
    where other = 'scratch'
    group by dataset, setting
),

side_by_side as (
    select
        dataset,
        any_value(gain) filter (setting = 'finetuned') as finetuned_gain,
        any_value(standard_error) filter (setting = 'finetuned') as finetuned_standard_error,
        coalesce(any_value(n_models) filter (setting = 'finetuned'), 0) as finetuned_models,
        any_value(gain) filter (setting = 'fixed') as fixed_gain,
        any_value(standard_error) filter (setting = 'fixed') as fixed_standard_error,
        coalesce(any_value(n_models) filter (setting = 'fixed'), 0) as fixed_models
    from gains
    group by dataset
),

final as (
    select dataset, n_train, side_by_side.* exclude (dataset)
    from side_by_side left join dataset_sizes using (dataset)
    order by n_train nulls last, dataset
)

select * from final
