-- Of which imported models is the ImageNet accuracy not known?
--
-- Grain: one row per model.
select distinct model
from results anti join (from source_metrics where source = 'imagenet_top1') using (model)
where origin is not null
order by model
