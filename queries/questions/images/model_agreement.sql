-- Do models make the same mistakes?
--
-- Two good models agree on most images because most are easy; the kappas take out what they would agree on by chance,
-- if each kept its own frequencies. With several labels per image, the class of the highest score counts, and is right
-- if it is one of them; images without a label are left out. Of several seeds, the smallest counts.
--
-- Grain: one row per dataset and pair of models that saw the same test images, the first by name before the other.
-- Columns:
--   dataset  name
--   model  name
--   other  name of the second model
--   n  test images
--   same_prediction  share of images that get the same class
--   both_right  share that both get right
--   both_wrong  share that both get wrong
--   kappa  Cohen's kappa of the predicted classes; null where both always give the same one
--   error_consistency  kappa of right and wrong (Geirhos et al. 2020); null if both are always right, or always wrong
--   same_error  share of the images that both get wrong that get the same wrong class; null where there is none
-- Parameters:
--   setting = 'fixed'  fixed, finetuned or scratch
--   probe = 'logistic'  one of `probestore list probes`
--   tap = 'penultimate'  layer that the features come from
--   n_per_class = NULL::BIGINT  training images per class; NULL: all of them
--   dataset = NULL::VARCHAR  name; NULL: every dataset
-- Example: probestore query model_agreement -p dataset=animals

-- Images are bits of strings of 4,096, so that a pair of models is compared by a few ANDs per class, not by a join of
-- all their images.
with answers as (
    select dataset, model, predicted, correct, index // 4096 as block, (index % 4096)::integer as place, sample_id
    from predicted($setting, $probe, $tap, $n_per_class)
    where $dataset is null or dataset = $dataset
),

-- Two models saw the same images when `images`, a hash of them all, is the same.
models_seen as (
    select
        dataset,
        model,
        count(*) as n,
        count(*) filter (correct) as n_right,
        bit_xor(hash(block, place, sample_id)) as images
    from answers
    group by dataset, model
),

pairs as (
    select dataset, this.model, other.model as other, n, this.n_right as n_this_right, other.n_right as n_other_right
    from models_seen as this
    join models_seen as other using (dataset, n, images)
    where this.model < other.model
),

right_bits as (
    select dataset, model, block, bitstring_agg(place, 0, 4095) as bits
    from answers
    where correct
    group by dataset, model, block
),

class_bits as (
    select dataset, model, block, predicted, correct, bitstring_agg(place, 0, 4095) as bits
    from answers
    group by dataset, model, block, predicted, correct
),

both_right as (
    select dataset, this.model, other.model as other, sum(bit_count(this.bits & other.bits)) as n_right
    from right_bits as this
    join right_bits as other using (dataset, block)
    where this.model < other.model
    group by dataset, this.model, other.model
),

same_class as (
    select
        dataset,
        this.model,
        other.model as other,
        sum(bit_count(this.bits & other.bits)) as n_same,
        sum(bit_count(this.bits & other.bits)) filter (not correct) as n_same_error
    from class_bits as this
    join class_bits as other using (dataset, block, predicted, correct)
    where this.model < other.model
    group by dataset, this.model, other.model
),

classes as (
    select dataset, model, predicted, count(*) as n from answers group by dataset, model, predicted
),

by_chance as (
    select this.dataset, this.model, other.model as other, sum(this.n * other.n) as n_chance
    from classes as this
    join classes as other on
        other.dataset = this.dataset and other.predicted = this.predicted and this.model < other.model
    group by this.dataset, this.model, other.model
),

counted as (
    select
        pairs.*,
        coalesce(n_right, 0) as n_right,
        n - n_this_right - n_other_right + coalesce(n_right, 0) as n_wrong,
        coalesce(n_same, 0) as n_same,
        coalesce(n_same_error, 0) as n_same_error,
        coalesce(n_chance, 0) as n_chance
    from pairs
    left join both_right using (dataset, model, other)
    left join same_class using (dataset, model, other)
    left join by_chance using (dataset, model, other)
),

shares as (
    select
        *,
        n_same / n as same,
        n_chance / (n * n) as same_by_chance,
        (n_right + n_wrong) / n as alike,
        (n_this_right * n_other_right + (n - n_this_right) * (n - n_other_right)) / (n * n) as alike_by_chance
    from counted
),

final as (
    select
        dataset,
        model,
        other,
        n,
        same as same_prediction,
        n_right / n as both_right,
        n_wrong / n as both_wrong,
        case when same_by_chance < 1 then (same - same_by_chance) / (1 - same_by_chance) end as kappa,
        case when alike_by_chance < 1 then (alike - alike_by_chance) / (1 - alike_by_chance) end as error_consistency,
        case when n_wrong > 0 then n_same_error / n_wrong end as same_error
    from shares
    order by dataset, model, other
)

select * from final
