-- Does a better source model transfer better among models that were trained alike?
--
-- It is the partial correlation of source metric and mean log-odds over datasets, with those of label_smoothing,
-- dropout, auxiliary_head and bn_scale held that are known of every counted model and vary among them: the correlation
-- of what a linear regression on them leaves of either. A column that follows from columns held before it is skipped.
-- The models that count are the compared models (macro `compared` in shared/macros.sql) whose source metric is known.
--
-- Grain: one row.
-- Columns:
--   partial_r  on the log-odds scale; null without a degree of freedom, or where the recipe explains one side wholly
--   r  Pearson correlation of the same models, nothing held; null below three models
--   p  two-sided, of partial_r: Student's t; null where there is no partial_r
--   n_models  models counted
--   df  degrees of freedom: n_models - 2 - recipe columns held
--   held  recipe columns held
--   not_held  the others, and why
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   source = 'imagenet_top1'  source metric of the models
-- Example: probestore query recipe_partial_correlation

with recursive points as (
    select
        model,
        source_x,
        logit,
        label_smoothing::double as label_smoothing,
        dropout::double as dropout,
        auxiliary_head::bigint::double as auxiliary_head,
        bn_scale::bigint::double as bn_scale
    from transfer_points($setting, $probe, $tap, $n_per_class, $source)
    join models using (model)
    where panel = 'mean over datasets'
),

-- The recipe columns come first, as numbers 1 to 4; source metric and transfer are 5 and 6.
measurements as (
    select
        model,
        unnest(['label_smoothing', 'dropout', 'auxiliary_head', 'bn_scale', 'source', 'transfer']) as name,
        unnest(range(1, 7)) as variable,
        unnest([label_smoothing, dropout, auxiliary_head, bn_scale, source_x, logit]) as value
    from points
),

variables as (
    select
        name,
        variable,
        count(*) filter (value is null) as n_unknown,
        count(distinct value) > 1 as varies,
        avg(value order by model) as mean,
        stddev_pop(value order by model) as spread
    from measurements
    group by name, variable
),

standardised as (
    select model, variable, (value - mean) / spread as z
    from measurements join variables using (name, variable)
    where n_unknown = 0 and varies and spread > 0
),

correlations as (
    select this.variable as i, other.variable as j, avg(this.z * other.z order by model) as c
    from standardised as this join standardised as other using (model)
    group by this.variable, other.variable
),

-- One recipe column after the other is taken out of all that is left: Gauss's elimination, whose pivot is the share of
-- a column's variance that those held before it do not explain. After step 4, the rest is covariance given what is
-- held.
swept as (
    select 0 as step, i, j, c from correlations
    union all
    select
        swept.step + 1,
        swept.i,
        swept.j,
        swept.c - case when held.c > 1e-9 then of_row.c * of_column.c / held.c else 0 end
    from swept
    left join swept as held on held.i = swept.step + 1 and held.j = swept.step + 1
    left join swept as of_row on of_row.i = swept.i and of_row.j = swept.step + 1
    left join swept as of_column on of_column.i = swept.step + 1 and of_column.j = swept.j
    where swept.step < 4
),

controls as (
    select
        variable,
        name,
        case
            when n_unknown > 0 then 'not known of ' || n_unknown || ' models'
            when not varies then 'does not vary'
            when held.c <= 1e-9 then 'follows from the others'
        end as reason
    from variables
    left join swept as held on held.step = variable - 1 and held.i = variable and held.j = variable
    where variable <= 4
),

listed as (
    select
        count(*) filter (reason is null) as n_held,
        coalesce(string_agg(name, ', ' order by variable) filter (reason is null), '') as held,
        coalesce(string_agg(name || ' (' || reason || ')', ', ' order by variable) filter (reason is not null), '')
            as not_held
    from controls
),

given_recipe as (
    select
        max(c) filter (i = 5 and j = 5) as source_left,
        max(c) filter (i = 6 and j = 6) as transfer_left,
        max(c) filter (i = 5 and j = 6) as covariance
    from swept
    where step = 4
),

plain as (
    select pearson(source_x, logit) as r, count(*) as n_models from (from points order by model)
),

partial as (
    select
        r,
        n_models,
        n_models - 2 - n_held as df,
        held,
        not_held,
        case
            when df >= 1 and source_left > 1e-9 and transfer_left > 1e-9
                then greatest(-1.0, least(1.0, covariance / sqrt(source_left * transfer_left)))
        end as partial_r
    from plain, listed, given_recipe
),

final as (
    select
        partial_r,
        r,
        student_p(partial_r * sqrt(df / nullif(1 - partial_r ** 2, 0)), df) as p,
        n_models,
        df,
        held,
        not_held
    from partial
)

select * from final
