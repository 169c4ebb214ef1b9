-- Settings compared: what the questions of this topic share.

-- The scores of each model and dataset in two settings, of the same probe, tap and number of images. Rounded, because
-- equal scores averaged over other seeds may differ in the last bit and would not tie.
-- Grain: one row per pair of settings, model and dataset.
create macro setting_pairs(the_probe, the_tap, the_n_per_class) as table
with scored as (
    select 'fixed' as setting, model, dataset, logit from scores('fixed', the_probe, the_tap, the_n_per_class)
    union all
    select 'finetuned', model, dataset, logit from scores('finetuned', the_probe, the_tap, the_n_per_class)
    union all
    select 'scratch', model, dataset, logit from scores('scratch', the_probe, the_tap, the_n_per_class)
),
pairs(setting, other) as (
    values ('finetuned', 'fixed'), ('finetuned', 'scratch'), ('fixed', 'scratch')
)
select pairs.setting, pairs.other, model, dataset, round(first.logit - second.logit, 12) as difference
from pairs
join scored as first on first.setting = pairs.setting
join scored as second using (model, dataset)
where second.setting = pairs.other;
