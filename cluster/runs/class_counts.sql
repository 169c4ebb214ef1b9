-- How many training images has each class?
--
-- Grain: one row per dataset with one label per image, and class.
select dataset, label, count(*) as n_images from samples where split = 'train' and label is not null group by all
