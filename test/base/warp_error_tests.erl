-module(warp_error_tests).
-include_lib("eunit/include/eunit.hrl").

text_test_() ->
    [?_assertEqual(Text, warp_error:format_error(Reason))
     || {Reason, Text} <-
            [{overloaded, <<"Too many requests wait. Nothing was stored. Try again later, and slower.">>},
             {{shard_unavailable, 3},
              <<"Shard 3 is being opened again. Nothing was done. Try again. If it stays so, stats and the log say "
                "why the shard cannot be opened.">>},
             %% Reasons inside of reasons.
             {{bad_event, 3, payload, not_an_object},
              <<"Event 3 (counted from 1) cannot be stored: its payload is not a JSON object. Correct it, and "
                "append again.">>},
             {{bad_event, 1, undefined, not_a_list},
              <<"Event 1 (counted from 1) cannot be stored: it is not a list. Correct it, and append again.">>},
             {{bad_option, shards, {not_an_integer_between, 1, 4096}},
              <<"The option or argument shards is not an integer from 1 to 4096. Give another value.">>},
             {{bad_option, aggregates, {<<"Account">>, apply, {not_a_function, 2}}},
              <<"The option or argument aggregates is wrong at Account, apply: it is not a function with 2 arguments. "
                "Give another value.">>},
             {{bad_option, projections, {tls, {keyfile, missing}}},
              <<"The option or argument projections is wrong at tls, keyfile: it is missing. Give another value.">>},
             {{bad_option, at, not_seq_or_time},
              <<"The option or argument at is neither {seq, Seq} nor {time, Micros}. Give another value.">>},
             {{bad_step, 0, {forward, {payload, {too_deep, 128}}}},
              <<"Step 0 (counted from 0) cannot be taken: its forward is wrong at payload: it is nested deeper than "
                "128. Correct that step.">>},
             {{saga_waits, #{step => 1, entity => <<"alice">>, direction => forward, since => 7,
                             reason => {unknown_step, <<"debit">>}}},
              <<"The saga waits at step 1, of entity alice, since this start of the context lacks what that step "
                "needs: The context was started without the step function debit. Nothing was refused. Start the "
                "context with it: the saga goes on by itself.">>},
             {{apply_failed, {error, badarith, [{bank, apply, [1, 2], [{line, 7}]}]}},
              <<"The aggregate's apply crashed: error badarith in bank:apply/2, line 7. A new event was not stored; an "
                "event of the log cannot be read until apply takes it. Fix apply, and start the context again.">>},
             {{cannot_read, "/etc/ssl/ours.pem", enoent},
              <<"The file /etc/ssl/ours.pem cannot be read: enoent. Correct its path, or its access rights.">>},
             {{behind, [<<"mail">>, <<"sum">>]},
              <<"These subscriptions have not handled everything, or hold an event that their subscribers failed with: "
                "mail, sum. Wait longer; see what waits with warp_subscription:parked/2.">>},
             {{bad_option, subscribers, {<<"mail">>, effects_from, neither_time_nor_cursor}},
              <<"The option or argument subscribers is wrong at mail, effects_from: it is neither {time, Micros} nor "
                "{cursor, Cursor}. Give another value.">>},
             %% What is still to be erased may be in a backup, or elsewhere.
             {{still_to_erase, #{target => backup, projections => [],
                                 reason => {<<"/mnt/backup">>, {io_error, <<"/mnt/backup: stale file handle">>}}}},
              <<"The entity is gone from the context, but what the backup in /mnt/backup has of it may still be "
                "restored: The operating system or SQLite refused: /mnt/backup: stale file handle. Nothing was stored. "
                "Warp goes on trying by itself once backups to that target are started; see warp_core:stats/1 under "
                "backups. Delete again to wait again. When the target is gone for good, say so with "
                "warp_backup:forget/2.">>},
             {{still_to_erase, #{target => rqlite, projections => [<<"accounts">>], reason => timeout}},
              <<"The entity is gone from the log, but rows of it may still stand in the tables accounts of the "
                "target rqlite, or another node may still have something of it: No answer came in time. What was "
                "asked for may still be done. Warp goes on trying by itself, also after a restart. Delete again to "
                "wait again.">>},
             {{other_backup, #{context => <<"bank">>, shards => 16}},
              <<"The target has a backup of a context bank with 16 shards. Give each context a target of its own.">>},
             {{no_such_cut, {cut, 9}},
              <<"The backup has no such cut: {cut,9}. warp_backup:list/1 gives the cuts.">>},
             {{bad_option, until, not_a_cut},
              <<"The option or argument until is neither 'end' nor {cut, Number} nor {time, Micros}. Give another "
                "value.">>},
             {{rejected, overloaded},
              <<"The aggregate's validate refused the event: overloaded. Decide what that means to you.">>}]].

%% The parts of a text, for whoever shows them apart.
describe_test_() ->
    [?_assertEqual({ok, #{reason => shard_unavailable, values => #{<<"N">> => 3},
                          meaning => <<"Shard 3 is being opened again. Nothing was done.">>,
                          to_do => <<"Try again. If it stays so, stats and the log say why the shard cannot be "
                                     "opened.">>}},
                   warp_error:describe({shard_unavailable, 3})),
     ?_assertMatch({ok, #{reason := overloaded, values := None}} when None =:= #{}, warp_error:describe(overloaded)),
     ?_assertEqual(unknown, warp_error:describe(insufficient_funds)),
     [?_assertEqual({Reason, warp_error:format_error(Reason)}, {Reason, described(Reason)})
      || #{reason := Shape} <- warp_error:catalogue(), Reason <- [put_in(shape(Shape), 7)]]].

described(Reason) ->
    {ok, #{meaning := Meaning, to_do := ToDo}} = warp_error:describe(Reason),
    <<Meaning/binary, " ", ToDo/binary>>.

%% Of what is no reason of Warp's, the term is shown.
other_terms_test_() ->
    [?_assertEqual(Text, warp_error:format_error(Reason))
     || {Reason, Text} <-
            [{insufficient_funds, <<"Warp has no text for the reason insufficient_funds.">>},
             {{foo, <<"ä"/utf8>>}, <<"Warp has no text for the reason {foo,<<\"ä\"/utf8>>}."/utf8>>},
             {[], <<"Warp has no text for the reason [].">>}]].

%% Whatever stands in the places of a reason, there is some text, and not a book.
any_term_has_a_text_test() ->
    Hostile = [1, -1.5, a, '', <<>>, <<255>>, <<1:3>>, "text", [a | b], [[[]]], {}, {a}, {a, b, {c, d}}, #{},
               #{a => 1}, self(), make_ref(), fun() -> ok end, undefined, <<"{Why}">>, <<"{{">>,
               binary:copy(<<"ä"/utf8>>, 100000),
               lists:seq(1, 100000), {error, badarg, [{m, f, 1, []}]}, {error, badarg, nostack},
               {error, badarg, [{m, f, [1 | 2], []}]}, {error, badarg, [{m, f, 1, none}]},
               #{step => {}, entity => <<255>>, reason => {}}, #{'fun' => self()}],
    Shapes = [shape(Text) || #{reason := Text} <- warp_error:catalogue()],
    [?assertNotMatch({Reason, <<"Warp has no text", _/binary>>}, {Reason, warp_error:format_error(Reason)})
     || Shape <- Shapes, Term <- Hostile, Reason <- [put_in(Shape, Term)]],
    lists:foreach(
        fun(Reason) ->
            Text = warp_error:format_error(Reason),
            ?assert(warp_text:is_utf8(Text)),
            ?assertNotEqual(<<>>, Text),
            ?assert(byte_size(Text) < 10000)
        end,
        Hostile ++ [put_in(Shape, Term) || Shape <- Shapes, Term <- Hostile]
                ++ [{bad_option, key, put_in(shape(Why), Term)}
                    || #{why := Why} <- warp_error:problems(), Term <- Hostile]).

%% A shape as a term, with 'VAR' for each variable.
shape(Text) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Text) ++ "."),
    Plain = [case Token of
                 {var, Line, _} -> {atom, Line, 'VAR'};
                 {':=', Line} -> {'=>', Line};
                 {'fun', Line} -> {atom, Line, 'fun'};
                 _ -> Token
             end || Token <- Tokens],
    {ok, Term} = erl_parse:parse_term(Plain),
    Term.

put_in('VAR', Term) -> Term;
put_in(Shape, Term) when is_tuple(Shape) -> list_to_tuple([put_in(Part, Term) || Part <- tuple_to_list(Shape)]);
put_in(Shape, Term) when is_map(Shape) -> maps:map(fun(_, Part) -> put_in(Part, Term) end, Shape);
put_in(Shape, _Term) -> Shape.

%% Each name in a text is a variable of its shape; no shape hides another one; nothing is said twice.
the_table_is_sound_test() ->
    Catalogue = warp_error:catalogue(),
    lists:foreach(
        fun(#{reason := Shape, areas := Areas, meaning := Meaning, to_do := ToDo}) ->
            ?assertMatch([_ | _], Areas),
            ?assertEqual([], Areas -- [start, entity, query, projection, saga, subscription, cluster, step, verify,
                                        backup]),
            _ = [?assertEqual({Shape, $.}, {Shape, binary:last(Text)}) || Text <- [Meaning, ToDo]],
            Variables = variables(Shape),
            ?assertEqual({Shape, []}, {Shape, [Name || Name <- names(Meaning) ++ names(ToDo),
                                                       not lists:member(Name, Variables)]}),
            %% The text of the shape itself comes from its own entry.
            Text = warp_error:format_error(put_in(shape(Shape), 7)),
            ?assertNotMatch({Shape, <<"Warp has no text", _/binary>>}, {Shape, Text})
        end,
        Catalogue),
    Shapes = [Shape || #{reason := Shape} <- Catalogue],
    ?assertEqual(lists:sort(Shapes), lists:usort(Shapes)),
    Whys = [Why || #{why := Why} <- warp_error:problems()],
    ?assertEqual(lists:sort(Whys), lists:usort(Whys)).

names(Text) ->
    case re:run(Text, "(?<!{){([A-Z][A-Za-z]*)}", [global, {capture, all_but_first, binary}]) of
        {match, Names} -> lists:append(Names);
        nomatch -> []
    end.

variables(Shape) ->
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Shape)),
    [atom_to_binary(Name) || {var, _, Name} <- Tokens].

%% What a shell prints of a reason that was raised.
shells_print_the_text_test() ->
    try error({shard_unavailable, 3}, none, [{error_info, #{module => warp_error}}]) of
        _ -> ?assert(false)
    catch
        error:Reason:Stack ->
            Printed = unicode:characters_to_binary(erl_error:format_exception(error, Reason, Stack)),
            ?assertMatch({match, _}, re:run(Printed, "Shard 3 is being opened again"))
    end.
