-- Transfer against a source metric: points, the line through them, and the uncertainty of both. A panel is a plot with one
-- point per model. Macros take the kinds of panels as a list:
--   'mean'     one panel, `mean over datasets`, of the compared models
--   'size'     the same, for datasets below and from a threshold of training images
--   'source'   the same as 'mean' for every source metric; the panel is called as the metric
--   'dataset'  a panel for each dataset, of all models scored on it
-- Models whose source metric is not known are left out of a panel.

-- Grain: one row per panel and model.
create macro transfer_points(the_setting, the_probe, the_tap, the_n_per_class, the_source) as table
with panels as (
    select 'mean over datasets' as panel, model, mean_logit as logit, standard_error
    from model_scores(the_setting, the_probe, the_tap, the_n_per_class)
    union all
    select dataset, model, logit, null
    from scores(the_setting, the_probe, the_tap, the_n_per_class)
)
select panel, model, value as source_value, x as source_x, logit, standard_error
from panels join source_metrics using (model)
where source = the_source and x is not null;

-- The headline scores of a slice by where they come from: `origin` is an import, or null for what was computed here.
-- Unlike in `scores`, none hides another, so that the results of an import can be asked for whole.
-- Grain: one row per model, dataset and origin.
create macro scores_by_origin(the_setting, the_probe, the_tap, the_n_per_class) as table
with one_solver as (
    select distinct on (model, dataset, origin, seed) *
    from results
    where headline
        and setting = the_setting
        and probe = the_probe
        and tap = the_tap
        and n_per_class is not distinct from the_n_per_class
    order by created_at desc, solver
)
select
    model,
    dataset,
    origin,
    any_value(metric) as metric,
    avg(logit(value, n_test) order by seed) as logit,
    max(created_at) as created_at
from one_solver
group by model, dataset, origin;

create macro size_group(n_train, threshold) as
    case
        when n_train < threshold then format('under {:,}', threshold)
        when n_train >= threshold then format('{:,} and above', threshold)
        else 'size not known'
    end;

-- The scores that the points are means of.
-- Grain: one row per panel, model and dataset.
create macro transfer_cells(
    the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold
) as table
with block as (
    from compared(the_setting, the_probe, the_tap, the_n_per_class)
),
cells as (
    select 'mean over datasets' as panel, the_source as source, model, dataset, logit
    from block
    where list_contains(the_kinds, 'mean')
    union all
    select size_group(n_train, the_threshold), the_source, model, dataset, logit
    from block left join dataset_sizes using (dataset)
    where list_contains(the_kinds, 'size')
    union all
    select source, source, model, dataset, logit
    from block, (select distinct source from source_metrics)
    where list_contains(the_kinds, 'source')
    union all
    select dataset, the_source, model, dataset, logit
    from scores(the_setting, the_probe, the_tap, the_n_per_class)
    where list_contains(the_kinds, 'dataset')
)
select panel, model, dataset, x, logit
from cells join source_metrics using (model, source)
where x is not null;

create macro centred(numbers) as list_transform(numbers, lambda number: number - list_avg(numbers));

-- The panels with their models as lists, in the order of names. xs and ys (means over datasets) are less their own
-- mean, mean_x and mean_y, so that sums of their products keep their digits. A mean is rounded, because equal numbers
-- summed in another order may differ in the last bit and would not tie.
-- Grain: one row per panel.
create macro transfer_panels(
    the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold
) as table
with averaged as (
    select panel, model, any_value(x) as x, list(logit order by dataset) as logits
    from transfer_cells(the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold)
    group by panel, model
),
listed as (
    select
        panel,
        count(*) as n_models,
        any_value(len(logits)) as n_datasets,
        list(model order by model) as models,
        list(x order by model) as x,
        list(round(list_avg(logits), 12) order by model) as y,
        list(logits order by model) as logits
    from averaged
    group by panel
)
select
    panel,
    n_models,
    n_datasets,
    models,
    list_avg(x) as mean_x,
    list_avg(y) as mean_y,
    centred(x) as xs,
    centred(y) as ys,
    logits
from listed;

-- n points' sum of squares around their mean; null where they do not vary, but for the last bits.
create macro spread(n, total, squares) as
    case when squares - total * total / n > 1e-12 * squares then squares - total * total / n end;

-- (greatest and least skip nulls, hence the case.)
create macro clipped(r) as case when r is not null then greatest(-1.0, least(1.0, r)) end;

-- Pearson's r and the least-squares line of n points, from the sums of x, y and their products. Null where they say
-- nothing: r below three points, r and the line where x does not vary, r where y does not.
create macro line_of_sums(n, x, y, xx, xy, yy) as {
    'r': case when n >= 3 then clipped((xy - x * y / n) / sqrt(spread(n, x, xx) * spread(n, y, yy))) end,
    'slope': (xy - x * y / n) / spread(n, x, xx),
    'intercept': (y - (xy - x * y / n) / spread(n, x, xx) * x) / n
};

create macro line_of(xs, ys) as line_of_sums(
    len(xs),
    list_sum(xs),
    list_sum(ys),
    list_inner_product(xs, xs),
    list_inner_product(xs, ys),
    list_inner_product(ys, ys)
);

create macro products(xs, ys) as list_transform(list_zip(xs, ys), lambda pair: pair[1] * pair[2]);

-- 1 for the smallest; equal numbers share the mean of their places.
create macro average_ranks(numbers) as
    list_transform(
        numbers,
        lambda this: len(list_filter(numbers, lambda other: other < this))
            + (len(list_filter(numbers, lambda other: other = this)) + 1) / 2.0
    )::double[];

-- How often each of the places 0 .. n - 1 was drawn, from a histogram of the draws.
create macro times_drawn(n, histogram) as
    list_transform(range(n), lambda place: coalesce(histogram[place], 0)::double);

-- Each panel with at least three models again, many times:
--   r, slope, intercept   with as many models, drawn with replacement; null where they have no line
--   r_both                with as many models and as many datasets, each drawn with replacement; null with one dataset
--   shuffled              the sum of products of xs and ys with the models of the ys shuffled
-- The draws depend on the number of models or datasets only, so panels of one size share them.
-- Grain: one row per panel and replicate.
create macro resampled(
    the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold, the_seed, the_replicates
) as table
with panels as (
    select *, products(xs, xs) as xxs, products(xs, ys) as xys, products(ys, ys) as yys
    from transfer_panels(the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold)
    where n_models >= 3
),
models_numbers as (
    select
        n_models,
        replicate,
        list_transform(range(n_models), lambda draw: random_number(the_seed, replicate, draw)) as numbers
    from (select distinct n_models from panels), range(the_replicates) as replicates(replicate)
),
models_draws as (
    select
        n_models,
        replicate,
        list_histogram(list_transform(numbers, lambda number: (number % n_models::ubigint)::bigint)) as histogram,
        list_grade_up(numbers) as shuffle
    from models_numbers
),
models_times as (
    select n_models, replicate, times_drawn(n_models, histogram) as models_times, shuffle from models_draws
),
datasets_draws as (
    select
        n_datasets,
        replicate,
        list_histogram(list_transform(
            range(n_datasets),
            lambda draw: random_below(n_datasets, the_seed, replicate, 'dataset ' || draw)
        )) as histogram
    from (select distinct n_datasets from panels where n_datasets > 1), range(the_replicates) as replicates(replicate)
),
datasets_times as (
    select n_datasets, replicate, times_drawn(n_datasets, histogram) as datasets_times from datasets_draws
),
drawn as (
    select
        *,
        case when n_datasets > 1 then list_transform(
            logits,
            lambda row: list_inner_product(row, datasets_times) / n_datasets - mean_y
        ) end as ys_of_drawn
    from panels
    join models_times using (n_models)
    left join datasets_times using (n_datasets, replicate)
),
lines as (
    select
        *,
        line_of_sums(
            n_models,
            list_inner_product(models_times, xs),
            list_inner_product(models_times, ys),
            list_inner_product(models_times, xxs),
            list_inner_product(models_times, xys),
            list_inner_product(models_times, yys)
        ) as line,
        case when n_datasets > 1 then line_of_sums(
            n_models,
            list_inner_product(models_times, xs),
            list_inner_product(models_times, ys_of_drawn),
            list_inner_product(models_times, xxs),
            list_inner_product(models_times, products(xs, ys_of_drawn)),
            list_inner_product(models_times, products(ys_of_drawn, ys_of_drawn))
        ) end as line_of_both
    from drawn
)
select
    panel,
    replicate,
    line.r as r,
    line.slope as slope,
    mean_y + line.intercept - line.slope * mean_x as intercept,
    line_of_both.r as r_both,
    list_inner_product(xs, list_select(ys, shuffle)) as shuffled
from lines;

-- The correlation of each panel and its uncertainty. The permutation test asks how often models whose transfer is
-- shuffled correlate at least as much, b times of m: p = (b + 1) / (m + 1) is never 0 (Phipson & Smyth 2010). A shuffle
-- changes no variance, so the sums of products are compared instead of r.
-- Grain: one row per panel.
create macro correlations(
    the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold, the_seed, the_replicates
) as table
with observed as (
    select
        *,
        line_of(xs, ys) as line,
        line_of(average_ranks(xs), average_ranks(ys)).r as spearman,
        kendall(xs, ys) as kendall,
        abs(list_inner_product(xs, ys))
            - 1e-12 * sqrt(list_inner_product(xs, xs) * list_inner_product(ys, ys)) as as_far
    from transfer_panels(the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold)
),
of_replicates as (
    select
        panel,
        quantile_cont(r, 0.025) as r_low,
        quantile_cont(r, 0.975) as r_high,
        quantile_cont(r_both, 0.025) as r_low_both,
        quantile_cont(r_both, 0.975) as r_high_both,
        (1 + count(*) filter (abs(shuffled) >= as_far)) / (1 + count(*)) as permutation_p
    from resampled(
        the_kinds, the_setting, the_probe, the_tap, the_n_per_class, the_source, the_threshold, the_seed, the_replicates
    )
    join (select panel, as_far from observed) using (panel)
    group by panel
)
select
    panel,
    line.r as r,
    r_low,
    r_high,
    r_low_both,
    r_high_both,
    fisher_interval(line.r, n_models).low as fisher_low,
    fisher_interval(line.r, n_models).high as fisher_high,
    case when line.r is not null then permutation_p end as permutation_p,
    spearman,
    kendall,
    line.slope as slope,
    mean_y + line.intercept - line.slope * mean_x as intercept,
    n_models,
    n_datasets
from observed left join of_replicates using (panel);

-- Where each compared model lies above or below the line (all in the coordinates of the plot).
--   leverage     1 / n + (x - mean x)^2 / sum of squares: how far out it lies in x
--   studentised  residual in standard deviations of its own, internally: residual / (s * sqrt(1 - leverage)), with s
--                the residual standard deviation of n - 2 degrees of freedom (Cook & Weisberg 1982). Null where all
--                lie on the line, and of a model that alone decides its slope.
-- Grain: one row per model of the panel `mean over datasets`.
create macro transfer_residuals(the_setting, the_probe, the_tap, the_n_per_class, the_source) as table
with panels as (
    select
        *,
        line_of(xs, ys).slope as slope,
        spread(n_models, list_sum(xs), list_inner_product(xs, xs)) as xx,
        list_inner_product(ys, ys) as yy,
        yy - slope * list_inner_product(xs, ys) as left_over
    from transfer_panels(
        ['mean'], the_setting, the_probe, the_tap, the_n_per_class, the_source, null::bigint
    )
),
points as (
    select
        *,
        unnest(models) as model,
        unnest(xs) as x,
        unnest(ys) as y,
        case when n_models >= 3 and left_over > 1e-12 * yy then sqrt(left_over / (n_models - 2)) end as deviation
    from panels
),
placed as (
    select *, y - slope * x as residual, 1 / n_models + x * x / xx as leverage from points
)
select
    model,
    n_models,
    mean_x + x as source_x,
    mean_y + y as logit,
    mean_y + slope * x as predicted,
    residual,
    leverage,
    case when leverage < 1 - 1e-9 then residual / (deviation * sqrt(1 - leverage)) end as studentised
from placed;

-- The same with p: could the model lie on the line through the others? The externally studentised residual against
-- Student's t with n - 3 degrees of freedom (Cook & Weisberg 1982), and p adjusted for the number of models (Holm).
-- Grain: one row per model of the panel `mean over datasets`.
create macro tested_residuals(the_setting, the_probe, the_tap, the_n_per_class, the_source) as table
with tested as (
    select
        *,
        n_models - 2 - studentised * studentised as of_others,
        case
            when n_models >= 4 and of_others > 1e-9 then
                student_p(studentised * sqrt((n_models - 3) / of_others), n_models - 3)
            -- The others lie on a line exactly, and this one does not.
            when n_models >= 4 and of_others is not null then 0.0
        end as p
    from transfer_residuals(the_setting, the_probe, the_tap, the_n_per_class, the_source)
)
select * exclude (of_others), holm(p, list(p) over ()) as p_holm from tested;
