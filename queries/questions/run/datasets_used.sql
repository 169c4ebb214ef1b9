-- Which datasets were used, and how were their splits made?
--
-- Grain: one row per dataset of the store.
-- Columns:
--   dataset  name
--   origin  the import that named it; null: a study used it
--   source  where the images come from
--   n_classes  classes
--   metric  headline metric
--   best_known  best value of it that was published before, a fraction, as an import said
--   n_train  training images; of an import, with the validation images
--   n_val  validation images
--   n_test  test images
--   skipped  unreadable images over all splits
--   train_made  how the training split was made
--   val_made  how the validation split was made
--   test_made  how the test split was made
--   fingerprint  of the images and labels
-- Example: probestore query datasets_used

with unreadable as (
    select dataset, count(*) filter (not readable) as skipped from samples group by dataset
),

final as (
    select
        dataset,
        origin,
        source,
        n_classes,
        metric,
        best_known,
        n_train,
        n_val,
        n_test,
        coalesce(skipped, 0) as skipped,
        train_made,
        val_made,
        test_made,
        fingerprint
    from datasets left join unreadable using (dataset)
    order by dataset
)

select * from final
