-- Which models transfer better, or worse, than their source accuracy predicts?
--
-- Each compared model is set against the regression line of `transfer_correlation`. p asks whether the model could lie
-- on the line through the others: the externally studentised residual against Student's t with n - 3 degrees of freedom
-- (Cook & Weisberg 1982). Of many models some are far off by chance, hence p_holm, adjusted for looking at all of them.
-- Predictions are null below two models, studentised residuals below three and p below four, and all of them where the
-- source metric does not vary. A source that no model has gives no row.
--
-- Grain: one row per compared model whose source metric is known, the best for its source metric first.
-- Columns:
--   model  name
--   source_value  the source metric
--   logit  mean log-odds over datasets
--   predicted  height of the line at its source metric, log-odds
--   residual  logit less predicted, log-odds
--   odds_ratio  the odds that it is right on the datasets, as a multiple of those predicted: exp(residual)
--   studentised  internally studentised residual, in standard deviations
--   p  two-sided, of the externally studentised residual
--   p_holm  p adjusted for the number of models (Holm)
--   transfers  `better` or `worse` than predicted where p_holm is at most 0.05, else `as predicted`; null without p
--   n_models  models that the line goes through
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric; `correlation_by_source` lists them
-- Example: probestore query transfer_residuals --format markdown

with final as (
    select
        model,
        value as source_value,
        logit,
        predicted,
        residual,
        exp(residual) as odds_ratio,
        studentised,
        p,
        p_holm,
        case
            when p_holm <= 0.05 then case when residual > 0 then 'better' else 'worse' end
            when p_holm is not null then 'as predicted'
        end as transfers,
        n_models
    from tested_residuals($setting, $probe, $tap, $n_per_class, $source) join source_metrics using (model)
    where source = $source
    order by residual desc nulls last, model
)

select * from final
