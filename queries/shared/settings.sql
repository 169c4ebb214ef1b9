-- Settings compared: macros that the questions of this topic share.

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

-- Few-shot curves: the mean over the draws of each number of training images per class, with its standard error. Of
-- several solvers the one that ran last counts.
-- Grain: one row per dataset, setting, model and number of training images per class.
create macro few_shot(the_probe, the_tap) as table
with one_solver as (
    select distinct on (setting, model, dataset, n_per_class, seed) *
    from headline_results
    where probe = the_probe and tap = the_tap
    order by created_at desc, solver
)
select
    dataset,
    setting,
    model,
    n_per_class,
    min(n_train) as n_train,
    any_value(metric) as metric,
    avg(value order by seed) as value,
    stddev_samp(value order by seed) / sqrt(count(*)) as standard_error,
    avg(logit(value, n_test) order by seed) as logit,
    stddev_samp(logit(value, n_test) order by seed) / sqrt(count(*)) as logit_standard_error,
    count(*) as n_seeds
from one_solver
group by dataset, setting, model, n_per_class;
