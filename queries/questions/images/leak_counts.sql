-- How many test images of each dataset have a copy among the training images?
--
-- It counts the rows of the question `leaks`, which says what an exact and a near copy are.
--
-- Grain: one row per dataset with a copy.
-- Columns:
--   dataset  name
--   exact  test images with an exact copy
--   near  test images with a near copy
--   share  test images with either, a fraction of the test images; null where these are not stored
--   other_label  test images with a copy that has another label
-- Parameters:
--   setting = 'fixed'  of the networks: fixed, finetuned or scratch
--   tap = 'penultimate'  layer that the features come from
--   dataset = NULL::VARCHAR  name; NULL: every dataset
--   similarity = 0.9::DOUBLE  of a near copy at least
--   share = 0.5::DOUBLE  of the models that have looked, at least so many must find it
-- Example: probestore query leak_counts -p similarity=0.95

with sizes as (
    select dataset, count(*) as n_test from samples where split = 'test' group by dataset
),

final as (
    select
        dataset,
        count(distinct index) filter (kind = 'exact') as exact,
        count(distinct index) filter (kind = 'near') as near,
        count(distinct index) / any_value(n_test) as share,
        count(distinct index) filter (not same_label) as other_label
    from copies_in_training($setting, $tap, $dataset, $similarity, $share)
    left join sizes using (dataset)
    group by dataset
    order by dataset
)

select * from final
