-- Significance tests and coefficients of rank, as SciPy has them. All p-values are two-sided. A macro that takes a list needs
-- it in a fixed order, because sums of floating numbers depend on it: wilcoxon_p(list(x order by model)).

-- Every second term, from the power `first` of the cosine to before `last`, of the series of Abramowitz & Stegun 26.7.3
-- and 26.7.4; `odds` is the squared tangent.
create macro student_series(first, last, odds) as
    coalesce(list_sum(list_transform(
        range(first, last, 2),
        lambda j: exp(lgamma((j + 1) / 2) - lgamma(j / 2 + 1) - ln(1 + odds) * j / 2)
    )), 0) / sqrt(pi());

-- The chance of a Student's t at least as far from 0, for a whole number of degrees of freedom: 1 less the finite
-- series, and far out, where that has no digits left, the rest of the same series. Null without a degree of freedom.
create macro student_p(t, df) as
    case
        when df >= 1 and t * t < df then greatest(
            0,
            1 - df % 2 * 2 / pi() * atan(abs(t) / sqrt(df))
            - student_series(df::bigint % 2, df::bigint, t * t / df) * abs(t) / sqrt(df + t * t)
        )
        when df >= 1 then student_series(df::bigint, df::bigint + 120, t * t / df) * sqrt(1 - 1 / (1 + t * t / df))
    end;

-- Paired t-test, from the mean and the standard deviation of n differences. Differences that are all alike leave no
-- doubt: 1 where they are 0, else 0. Null below two.
create macro paired_t_p(mean, deviation, n) as
    case
        when n >= 2 and deviation = 0 then (mean = 0)::double
        when n >= 2 then student_p(mean / deviation * sqrt(n), n - 1)
    end;

create macro differences_p(differences) as
    paired_t_p(list_avg(differences), list_aggregate(differences, 'stddev_samp'), len(differences));

-- Paired t-test of two lists of equal length. Rounded, because equal differences of numbers that were summed in another
-- order may differ in the last bit, and would not be all alike.
create macro paired_p(xs, ys) as
    differences_p(list_transform(list_zip(xs, ys), lambda pair: round(pair[1] - pair[2], 12)));

-- The chance of a standard normal number at least as far from 0: 1 less the error function, by its series of positive
-- terms. Beyond 8 it is below 2e-15, and given as 0.
create macro normal_p(z) as
    case
        when abs(z) < 8 then greatest(0, 1 - sqrt(2 / pi()) * exp(-z * z / 2) * list_sum(list_transform(
            range(200),
            lambda k: abs(z) * exp(k * ln(greatest(z * z, 1e-300) / 2) - lgamma(k + 1.5) + lgamma(1.5))
        )))
        when z is not null then 0.0
    end;

-- Exact McNemar test. On b + c images exactly one of two models is right, and either could as well have been the one:
-- the chance of a split at least as uneven as b to c. 1 where there is no such image.
create macro mcnemar_p(b, c) as
    case when b is not null and c is not null then
        least(1.0, 2 * list_sum(list_transform(
            range(least(b, c)::bigint + 1),
            lambda k: exp(lgamma(b + c + 1) - lgamma(k + 1) - lgamma(b + c - k + 1) - (b + c) * ln(2))
        )))
    end;

-- Twice the rank of each number's distance from 0, with the number's sign. Equal distances share the mean of their
-- places, hence twice.
create macro signed_ranks(numbers) as
    list_transform(
        numbers,
        lambda x: sign(x) * (
            1
            + len(list_filter(numbers, lambda y: abs(y) < abs(x)))
            + len(list_filter(numbers, lambda y: abs(y) <= abs(x)))
        )
    );

-- The chances of the sums 0, 1, 2, ... of whole numbers, each of which counts or not by the toss of a coin.
create macro chances_of_sums(numbers) as
    list_reduce(
        list_transform(numbers, lambda x: [x::double]),
        lambda chances, x: list_transform(
            list_zip(
                chances || list_resize([]::double[], x[1]::bigint, 0::double),
                list_resize([]::double[], x[1]::bigint, 0::double) || chances
            ),
            lambda pair: (pair[1] + pair[2]) / 2
        ),
        [1::double]
    );

-- The chance that ranks with signs add up to a sum at least as far from 0, if a coin is tossed for each sign. Exact up
-- to 60 ranks; above, the normal approximation with its correction for ties.
create macro signed_ranks_p(ranks) as
    case
        when len(ranks) <= 60 then least(1, 2 * list_sum(
            chances_of_sums(list_transform(ranks, lambda r: abs(r)))[
                :1 + coalesce(list_sum(list_transform(ranks, lambda r: abs(r))) - abs(list_sum(ranks)), 0)::bigint // 2
            ]
        ))
        else normal_p(list_sum(ranks) / sqrt(list_sum(list_transform(ranks, lambda r: r * r))))
    end;

-- Wilcoxon's signed-rank test of a list of differences. Zeros are dropped, equal distances share their ranks. Exact up
-- to 60 differences. 1 where all are zeros, null where there are none. (A lambda over a list of one names its ranks, so
-- that they are worked out once.)
create macro wilcoxon_p(differences) as
    case when len(differences) > 0 then list_transform(
        [signed_ranks(list_filter(differences, lambda x: x <> 0))],
        lambda ranks: signed_ranks_p(ranks)
    )[1] end;

-- The sum over all pairs of the sign of their difference in x times that in y.
create macro concordance(xs, ys) as
    list_sum(list_transform(
        list_zip(xs, ys),
        lambda this: list_sum(list_transform(
            list_zip(xs, ys),
            lambda other: sign(this[1] - other[1]) * sign(this[2] - other[2])
        ))
    ));

-- Kendall's tau-b of two lists of equal length. Null below three pairs, or where one list is constant.
create macro kendall(xs, ys) as
    case when len(xs) >= 3 and len(list_distinct(xs)) > 1 and len(list_distinct(ys)) > 1 then
        concordance(xs, ys) / sqrt(concordance(xs, xs) * concordance(ys, ys))
    end;

-- Holm's adjustment of p, one of the list of p-values of a family of tests: the largest, over the p-values up to it, of
-- each times the number of those not smaller. Nulls are no tests. E.g. holm(p, list(p) over (partition by dataset)).
create macro holm(p, family) as
    case when p is not null then
        least(1.0, list_max(list_transform(
            list_filter(family, lambda q: q <= p),
            lambda q: q * len(list_filter(family, lambda other: other >= q))
        )))
    end;
