-- The arithmetic that questions share. Aggregates name an order wherever the last bit of a sum could depend on it, so
-- that a question asked twice gets the same answer.

-- Log-odds of an accuracy p measured on n images. 0 and 1 have none: an accuracy is moved to at most half an image
-- from either end, [1/(2n), 1 - 1/(2n)]. (greatest and least skip nulls, hence the case.)
create macro logit(p, n) as
    case when p is not null and n is not null then
        ln(greatest(0.5 / n, least(1 - 0.5 / n, p)) / (1 - greatest(0.5 / n, least(1 - 0.5 / n, p))))
    end;

create macro inverse_logit(x) as 1 / (1 + exp(-x));

-- 1 for the smallest; equal values share the mean of their places, as Spearman's coefficient needs.
create macro average_rank(x) as
    rank() over (order by x) + (count(*) over (partition by x) - 1) / 2.0;

create macro average_rank_within(g, x) as
    rank() over (partition by g order by x) + (count(*) over (partition by g, x) - 1) / 2.0;

-- Null where a correlation says nothing: fewer than three pairs, or one side constant.
create macro pearson(x, y) as
    case when regr_count(y, x) >= 3 and regr_sxx(y, x) > 0 and regr_syy(y, x) > 0 then
        greatest(-1.0, least(1.0, corr(y, x)))
    end;

-- Fisher's 95% interval of a correlation of n pairs; null below four.
create macro fisher_interval(r, n) as
    case when n >= 4 and abs(r) < 1 then {
        'low': tanh(atanh(r) - 1.959964 / sqrt(n - 3)),
        'high': tanh(atanh(r) + 1.959964 / sqrt(n - 3))
    } end;

-- The 97.5% point of Student's t, for 95% intervals: exact to three decimals up to 9 degrees of freedom, then the
-- Cornish-Fisher expansion around the normal one. Null without a degree of freedom.
create macro t95(df) as
    case
        when df < 1 then null
        when df < 10 then [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622][df::integer]
        else 1.959964 + 2.372272 / df + 2.822480 / df ** 2 + 2.555899 / df ** 3
    end;

-- A pseudo-random whole number of 64 bits that depends on its arguments only (MD5 is the same in every DuckDB).
create macro random_number(seed, replicate, draw) as md5_number_lower(concat_ws('/', seed, replicate, draw));

-- One below n. (Without its cast, n would have the remainder taken in 128 bits, much slower.)
create macro random_below(n, seed, replicate, draw) as (random_number(seed, replicate, draw) % n::ubigint)::bigint;

-- The headline score of each model on each dataset, in one slice of the results.
-- Seeds are averaged: they share the test images, so the standard error is averaged too and does not shrink. Solvers
-- minimise one objective: where several fitted a cell, the one that ran last counts. A result that was computed
-- here counts, and not one that was imported beside it; `origin` is the import that a score comes from, or null.
-- Grain: one row per model and dataset.
create macro scores(the_setting, the_probe, the_tap, the_n_per_class) as table
with slice as (
    from headline_results
    where setting = the_setting
        and probe = the_probe
        and tap = the_tap
        and n_per_class is not distinct from the_n_per_class
),
one_solver as (
    select distinct on (model, dataset, seed) *
    from slice
    order by created_at desc, solver
)
select
    model,
    dataset,
    any_value(metric) as metric,
    avg(value order by seed) as value,
    avg(standard_error order by seed) as standard_error,
    avg(logit(value, n_test) order by seed) as logit,
    min(n_test) as n_test,
    count(*) as n_seeds,
    any_value(origin) as origin
from one_solver
group by model, dataset;

-- The scores that can be compared: a block without holes. Every model of it was scored on every dataset of it. Of the
-- sets of datasets that some model completed, the one is taken that gives the most cells (then the most models): one
-- failed cell costs its model, and a dataset that few models have seen costs the dataset. Where something was computed
-- here, only its datasets are compared: a large import beside it would else take its place.
-- Grain: one row per model and dataset.
create macro compared(the_setting, the_probe, the_tap, the_n_per_class) as table
with everything as (
    from scores(the_setting, the_probe, the_tap, the_n_per_class)
),
own_datasets as (
    select distinct dataset from everything where origin is null
),
scored as (
    from everything
    where dataset in (from own_datasets) or not exists (from own_datasets)
),
held as (
    select model, list(dataset order by dataset) as datasets from scored group by model
),
blocks as (
    select candidate.datasets, list(held.model) as models
    from (select distinct datasets from held) as candidate
    join held on list_has_all(held.datasets, candidate.datasets)
    group by candidate.datasets
),
largest as (
    from blocks order by len(datasets) * len(models) desc, len(models) desc, datasets limit 1
)
select scored.*
from scored
join largest on list_contains(largest.datasets, scored.dataset) and list_contains(largest.models, scored.model);

-- The compared scores with the mean of each dataset taken out.
-- Grain: one row per model and dataset.
create macro adjusted(the_setting, the_probe, the_tap, the_n_per_class) as table
with block as (
    from compared(the_setting, the_probe, the_tap, the_n_per_class)
),
dataset_means as (
    select dataset, avg(logit order by model) as dataset_logit, count(*) as n_models from block group by dataset
)
select block.*, dataset_logit, logit - dataset_logit as adjusted, n_models
from block join dataset_means using (dataset);

-- Mean log-odds over datasets, with Morey's (2008) error bars: the standard error of the adjusted scores over datasets
-- (what the datasets have in common is gone), times sqrt(M / (M - 1)) for the M models that the mean was taken from.
-- Grain: one row per compared model.
create macro model_scores(the_setting, the_probe, the_tap, the_n_per_class) as table
select
    model,
    count(*) as n_datasets,
    any_value(n_models) as n_models,
    avg(value order by dataset) as mean_value,
    avg(logit order by dataset) as mean_logit,
    avg(adjusted order by dataset) as adjusted,
    stddev_samp(adjusted order by dataset) / sqrt(count(*))
        * sqrt(any_value(n_models) / nullif(any_value(n_models) - 1, 0)) as standard_error
from adjusted(the_setting, the_probe, the_tap, the_n_per_class)
group by model;
