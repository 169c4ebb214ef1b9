-- Sentences and commands that questions write.

-- A control character, or one that turns the direction of writing around: featurestore/plain_text.py says which.
create macro is_control(text) as
    regexp_matches(text, '[\x00-\x1f\x7f-\x9f\x{200e}\x{200f}\x{202a}-\x{202e}\x{2066}-\x{2069}]');

-- A letter inside $'...' of a shell.
create macro shell_letter(letter) as
    case
        when letter = '\' then '\\'
        when letter = '''' then '\'''
        when letter = chr(10) then '\n'
        when letter = chr(9) then '\t'
        when letter = chr(13) then '\r'
        when not is_control(letter) then letter
        when unicode(letter) < 256 then format('\x{:02x}', unicode(letter))
        else format('\u{:04x}', unicode(letter))
    end;

-- A word of a command line, as shell_command of featurestore/plain_text.py writes it.
create macro shell_word(word) as
    case
        when regexp_full_match(word, '[A-Za-z0-9_@%+=:,./-]+') then word
        when is_control(word) then
            '$''' || list_aggregate(
                list_transform(string_split(word, ''), lambda letter: shell_letter(letter)), 'string_agg', ''
            ) || ''''
        else '''' || replace(word, '''', '''"''"''') || ''''
    end;

-- The command that shows the rows behind a finding; arguments are texts `name=value`, and those that are null are left
-- out.
create macro asked(question, arguments) as
    concat_ws(
        ' ',
        'probestore query',
        question,
        nullif(array_to_string(list_transform(list_filter(arguments, lambda argument: argument is not null),
            lambda argument: '-p ' || shell_word(argument)), ' '), ''),
        '--store ' || shell_word(getvariable('store_uri'))
    );

create macro counted(n, noun) as format('{:,} {}{}', n::bigint, noun, case when n = 1 then '' else 's' end);

-- The only one of several, else null.
create macro only_one(names) as case when len(list_distinct(names)) = 1 then names[1] end;

-- `a, b, c and 2 more`, in the order of the alphabet; each name once.
create macro some_of(names) as
    array_to_string(list_sort(list_distinct(names))[:3], ', ')
        || case when len(list_distinct(names)) > 3 then format(' and {} more', len(list_distinct(names)) - 3) else '' end;

-- `model a`, or `2 models (a, b)`.
create macro named(noun, names) as
    case when len(list_distinct(names)) = 1 then noun || ' ' || names[1]
    else format('{} ({})', counted(len(list_distinct(names)), noun), some_of(names))
    end;

-- Splits in the order of their use.
create macro splits_of(splits) as
    array_to_string(list_filter(['train', 'val', 'test'], lambda split: list_contains(splits, split)), ', ');

-- Place of a check in a list of findings: what spoils most comes first, warnings before remarks.
create macro finding_rank(question, severity) as
    case severity when 'warning' then 0 else 100 end
        + list_position([
            'constant_features', 'at_chance', 'flat_tuning', 'validation_gap', 'conflicting_labels', 'leaks',
            'missing_classes', 'unreadable_by_class', 'mixed_versions', 'small_splits', 'off_the_line', 'turned_images',
            'repeated_images', 'made_splits', 'dataset_notes', 'superseded_results'
        ], question);
