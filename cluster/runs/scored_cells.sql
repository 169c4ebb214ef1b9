-- Which metrics does each cell have that was computed here?
--
-- Grain: one row per cell.
select cell, any_value(r.model) as model, any_value(tap) as tap, r.dataset, list(distinct r.metric) as metrics,
    any_value(probabilistic) as probabilistic, any_value(multilabel) as multilabel
from stored_results r left join datasets using (dataset)
where r.origin is null
group by cell, r.dataset
order by all
