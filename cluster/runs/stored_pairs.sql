-- Which feature sets belong together, as the studies have wanted them?
--
-- Grain: one row per model, dataset, setting, tap and keys; the latest wish first.
select
    model, coalesce(model_key, '') as model_key, dataset, metric, n_classes, multilabel, train_key, val_key, test_key,
    setting, tap, compute, inputs_key
from cells join datasets using (dataset)
group by all
order by max(wanted_at) desc, model, dataset
