%% The parts of the server that are pure: problems, scopes, routes, arguments, options, frames, the window.
-module(warp_server_tests).
-include_lib("eunit/include/eunit.hrl").

%% ------------------------------------------------------------------------------------------------------ Problems

%% Every reason of Warp has a status, and an object that JSON can have.
every_reason_is_a_problem_test_() ->
    [{binary_to_list(Shape), ?_test(is_problem(Shape, 7))} || #{reason := Shape} <- warp_error:catalogue()].

is_problem(Shape, Value) ->
    Reason = put_in(shape(Shape), Value),
    #{code := Code, status := Status} = Object = warp_server_problem:object(Reason),
    Name = case Reason of _ when is_atom(Reason) -> Reason; _ -> element(1, Reason) end,
    ?assertEqual(Name, Code),
    ?assert(Status >= 400 andalso Status < 600),
    {Status, Json} = warp_server_problem:json(Reason),
    {ok, Decoded} = warp_json:decode(Json),
    ?assertEqual([<<"advice">>, <<"code">>, <<"detail">>, <<"parameters">>, <<"retryable">>, <<"status">>, <<"title">>,
                  <<"type">>], lists:sort(maps:keys(Decoded))),
    ?assertEqual(<<"urn:warp:problem:", (atom_to_binary(Name))/binary>>, maps:get(type, Object)).

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

statuses_test_() ->
    [?_assertEqual({Reason, Status, IsRetryable},
                   {Reason, maps:get(status, Of(Reason)), maps:get(retryable, Of(Reason))})
     || Of <- [fun warp_server_problem:object/1],
        {Reason, Status, IsRetryable} <-
            [{{wrong_expected_seq, 3}, 409, false}, {{id_conflict, 3}, 409, false}, {{rejected, no}, 422, false},
             {overloaded, 503, true}, {{shard_unavailable, 1}, 503, true}, {context_stopped, 503, true},
             {interrupted, 503, true}, {timeout, 504, true}, {{unknown_outcome, node()}, 504, true},
                 {disk_full, 507, true},
             {{io_error, <<"x">>}, 500, false}, {not_found, 404, false}, {no_path, 404, false},
                 {unauthorized, 401, false},
             {{forbidden, read}, 403, false}, {{unknown_context, <<"x">>}, 404, false},
             {{method_not_allowed, [<<"GET">>]}, 405, false}, {{too_many_subscriptions, 3}, 429, true},
             {offset_gone, 410, false}, {{no_shard, 7}, 404, false},
             {insufficient_funds, 422, false}, {internal, 500, false}]].

%% The details of what is the server's own fault stay there, since they may hold states and names of files.
faults_have_no_details_test_() ->
    [?_assertEqual(nomatch, binary:match(element(2, warp_server_problem:json(Reason)), <<"secret">>))
     || Reason <- [{io_error, <<"/secret/x.db">>}, {corrupt, <<"secret">>}, {internal, <<"secret">>},
                   {apply_failed, {error, {badmatch, <<"secret">>}, [{m, f, [<<"secret">>], []}]}},
                   {still_to_erase, #{target => backup, projections => [], reason => {<<"/secret">>, not_started}}},
                   {still_to_erase, #{target => backup, projections => [],
                                      reason => {<<"/mnt">>, {io_error, <<"/secret: stale">>}}}},
                   {bad_return, decide, <<"secret">>}]].

values_are_parameters_test_() ->
    [?_assertEqual(Parameters, maps:get(parameters, warp_server_problem:object(Reason)))
     || {Reason, Parameters} <-
            [{{wrong_expected_seq, 3}, #{<<"actual">> => 3}},
             {{result_too_large, 9}, #{<<"max_bytes">> => 9}},
             {{rejected, {no, <<"money">>}}, #{<<"refusal">> => [no, <<"money">>]}},
             {{refused, {no, #{left => {1, 2}}}}, #{refusal => [no, #{<<"left">> => [1, 2]}]}},
             {{refused, lists:duplicate(1000, a)}, #{refusal => <<"[a,a,a,a,a,a,a,a,a,a,a|...]">>}},
             {{rejected, #{a => 1}}, #{<<"refusal">> => #{<<"a">> => 1}}},
             {{bad_entity_id, empty}, #{<<"why">> => empty}}]].

refusals_of_commands_say_what_the_command_says_test_() ->
    [?_assertMatch(#{code := rejected, status := 422, detail := Detail}, warp_server_problem:object({refused, Why}))
     || {Why, Detail} <- [{<<"no money">>, <<"The command refused: no money">>},
                          {{missing, 3}, <<"The command refused.">>}]].

%% A saga turns back because of a step, or because of none, as at its deadline.
why_a_saga_turned_back_test_() ->
    [?_assertMatch(#{failed := #{step := Shown, entity := Name, reason := #{code := timeout}}},
                   warp_server_sagas:shown(#{failed => #{step => Step, entity => Entity, reason => timeout}}))
     || {Step, Entity, Shown, Name} <- [{none, none, null, null}, {0, <<"none">>, 0, <<"none">>}]].

%% -------------------------------------------------------------------------------------------------------- Scopes

scope(Changes) ->
    maps:merge(#{operations => all, context => all, prefix => <<>>, aggregates => all}, Changes).

scopes_test_() ->
    Alice = scope(#{operations => [read, append], context => <<"bank">>, prefix => <<"a/">>, aggregates => [<<"X">>]}),
    [?_assertEqual({Permission, Allowed}, {Permission, warp_server_scope:allows(Scopes, Permission)})
     || {Scopes, Permission, Allowed} <-
            [{[], {read, <<"bank">>, whole}, false},
             {[scope(#{})], {read, <<"bank">>, whole}, true},
             {[scope(#{prefix => <<"a">>})], {read, <<"bank">>, whole}, false},
             {[scope(#{aggregates => [<<"X">>]})], {read, <<"bank">>, whole}, false},
             {[Alice], {read, <<"bank">>, {entity, <<"a/1">>, [<<"X">>]}}, true},
             {[Alice], {read, <<"bank">>, {entity, <<"a/1">>, [<<"X">>, <<"Y">>]}}, false},
             {[Alice], {read, <<"bank">>, {entity, <<"a/1">>, all}}, false},
             {[Alice], {read, <<"bank">>, {entity, <<"a/1">>, none}}, true},
             {[Alice], {read, <<"bank">>, {entity, <<"b/1">>, none}}, false},
             {[Alice], {read, <<"bank">>, {entity, <<"a">>, [<<"X">>]}}, false},
             {[Alice], {delete, <<"bank">>, {entity, <<"a/1">>, [<<"X">>]}}, false},
             {[Alice], {read, <<"shop">>, {entity, <<"a/1">>, [<<"X">>]}}, false},
             {[Alice], {read, <<"bank">>, {prefix, <<"a/">>, [<<"X">>]}}, true},
             {[Alice], {read, <<"bank">>, {prefix, <<>>, [<<"X">>]}}, false},
             %% Two scopes do not add up for one permission.
             {[scope(#{prefix => <<"a">>, aggregates => [<<"X">>]}),
               scope(#{prefix => <<"a">>, aggregates => [<<"Y">>]})],
              {read, <<"bank">>, {entity, <<"a">>, [<<"X">>, <<"Y">>]}}, false},
             {[scope(#{prefix => <<"b">>}), scope(#{prefix => <<"a">>})], {read, <<"c">>, {entity, <<"a">>, all}},
              true}]].

within_test_() ->
    [?_assertEqual({Narrow, Wide, Is}, {Narrow, Wide, warp_server_scope:within([scope(Narrow)], [scope(Wide)])})
     || {Narrow, Wide, Is} <-
            [{#{}, #{}, true}, {#{prefix => <<"ab">>}, #{prefix => <<"a">>}, true},
             {#{prefix => <<"a">>}, #{prefix => <<"ab">>}, false}, {#{}, #{operations => [read]}, false},
             {#{operations => [read]}, #{operations => [read, append]}, true},
                 {#{operations => [delete]}, #{operations => [read]}, false},
             {#{context => <<"a">>}, #{}, true}, {#{}, #{context => <<"a">>}, false},
             {#{context => <<"a">>}, #{context => <<"b">>}, false}, {#{aggregates => [<<"X">>]}, #{}, true},
             {#{}, #{aggregates => [<<"X">>]}, false}]].

scopes_as_json_test() ->
    Scope = scope(#{operations => [read], context => <<"bank">>, prefix => <<"a/">>, aggregates => [<<"X">>]}),
    [begin
         {ok, Json} = warp_json:encode(warp_server_scope:to_json(Each), 1000),
         {ok, Decoded} = warp_json:decode(Json),
         ?assertEqual({ok, Each}, warp_server_scope:from_json(Decoded))
     end || Each <- [Scope, scope(#{})]],
    [?assertEqual({Bad, error}, {Bad, warp_server_scope:from_json(Bad)})
     || Bad <- [1, #{<<"operations">> => [<<"fly">>]}, #{<<"operations">> => <<"read">>}, #{<<"prefix">> => 1},
                #{<<"aggregates">> => [1]}, #{<<"context">> => all1}, #{<<"operation">> => []}]].

%% -------------------------------------------------------------------------------------------------------- Routes

routes_test_() ->
    [?_assertEqual(Routed, warp_server_router:route(Method, Path))
     || {Method, Path, Routed} <-
            [{<<"GET">>, [<<"health">>], {ok, health, #{}}},
             {<<"HEAD">>, [<<"health">>], {ok, health, #{}}},
             {<<"POST">>, [<<"health">>], {error, {method_not_allowed, [<<"GET">>, <<"HEAD">>]}}},
             {<<"GET">>, [], {error, not_found}},
             {<<"GET">>, [<<>>], {error, not_found}},
             {<<"GET">>, [<<"v1">>, <<"contexts">>, <<"bank">>, <<"entities">>, <<"a/b">>, <<"events">>],
              {ok, history, #{<<"context">> => <<"bank">>, <<"entity">> => <<"a/b">>}}},
             {<<"HEAD">>, [<<"v1">>, <<"contexts">>, <<"bank">>, <<"streams">>, <<"entities">>, <<"a/b">>],
              {ok, entity_stream, #{<<"context">> => <<"bank">>, <<"entity">> => <<"a/b">>}}},
             {<<"GET">>, [<<"v1">>, <<"contexts">>, <<"bank">>, <<"streams">>, <<"shards">>, <<"3">>],
              {ok, shard_stream, #{<<"context">> => <<"bank">>, <<"shard">> => <<"3">>}}},
             {<<"PUT">>, [<<"v1">>, <<"contexts">>, <<"bank">>, <<"entities">>, <<"a">>, <<"events">>],
              {error, {method_not_allowed, [<<"GET">>, <<"HEAD">>, <<"POST">>]}}},
             {<<"DELETE">>, [<<"v1">>, <<"contexts">>, <<"bank">>, <<"entities">>, <<>>], {error, not_found}}]].

%% Each operation has arguments, and each variable of its path is one of them.
every_route_has_arguments_test() ->
    [?assertEqual({Operation, []}, {Operation, [Name || Name <- Path, is_atom(Name), Name =/= context]
                                                   -- [Name || {Name, _, _} <- warp_server_args:arguments(Operation)]})
     || {_, Path, Operation} <- warp_server_router:routes(), Operation =/= health, Operation =/= openapi].

%% ----------------------------------------------------------------------------------------------------- Arguments

arguments_test_() ->
    Page = #{<<"entity">> => <<"a">>, <<"limit">> => <<"10">>},
    [?_assertEqual({ok, #{entity => <<"a">>, limit => 10}}, warp_server_args:check(history, Page, text)),
     ?_assertEqual({error, {bad_option, <<"limit">>, {not_an_integer_between, 1, 10000}}},
                   warp_server_args:check(history, Page, json)),
     %% A number without a fraction is an integer, however it is written.
     [?_assertEqual({Given, {ok, #{entity => <<"a">>, limit => 10}}},
                    {Given, warp_server_args:check(history, #{<<"entity">> => <<"a">>, <<"limit">> => Given}, json)})
      || Given <- [10, 10.0]],
     [?_assertMatch({Given, {error, {bad_option, <<"limit">>, _}}},
                    {Given, warp_server_args:check(history, #{<<"entity">> => <<"a">>, <<"limit">> => Given}, json)})
      || Given <- [10.5, 0.0, 1.0e300, null, <<"10">>]],
     ?_assertMatch({ok, #{expected := 3}},
                   warp_server_args:check(append, #{<<"entity">> => <<"a">>, <<"event">> => #{},
                                                    <<"expected">> => 3.0}, json)),
     ?_assertEqual(#{schema_vsn => 2}, warp_server_call:event(#{<<"schema_vsn">> => 2.0})),
     ?_assertEqual({error, {bad_option, <<"entity">>, missing}}, warp_server_args:check(history, #{}, text)),
     ?_assertEqual({error, {unknown_field, <<"limt">>}},
                   warp_server_args:check(history, #{<<"entity">> => <<"a">>, <<"limt">> => 1}, json)),
     ?_assertEqual({error, unknown_operation}, warp_server_args:check(module_info, #{}, json)),
     [?_assertEqual({Place, {ok, #{'after' => Place}}},
                    {Place,
                     warp_server_args:check(entities, #{<<"after">> => warp_server_args:after_text(Place)}, text)})
      || Place <- [{0, first}, {3, {-1 bsl 63, 1 bsl 62}}, {4095, {5, -7}}]],
     [?_assertEqual({At, {ok, #{'after' => At}}},
                    {At, warp_server_args:check(events, #{<<"after">> => warp_server_args:after_text(At)}, json)})
      || At <- [#{0 => 0}, #{0 => 1, 15 => 1 bsl 40}, #{}]]].

base64url_test() ->
    [?assertEqual({ok, Bytes}, warp_server_token:from_base64url(warp_server_token:base64url(Bytes)))
     || N <- lists:seq(0, 40), Bytes <- [rand:bytes(N), binary:copy(<<255>>, N)]],
    [?assertEqual({Bad, error}, {Bad, warp_server_token:from_base64url(Bad)})
     || Bad <- [<<"a+">>, <<"a">>, <<"??">>, 1]].

%% ------------------------------------------------------------------------------------------------------- Options

options_test_() ->
    Minimal = #{contexts => []},
    Token = #{id => <<"a">>, sha256 => binary:copy(<<"0">>, 64), scopes => [#{}]},
    [?_assertEqual(Wrong, {Given, warp_server_options:check(Given)})
     || {Given, Why} <-
            [{1, {bad_option, options, not_a_map}},
             {#{}, {missing_option, contexts}},
             {Minimal#{port => 1}, {unknown_option, port}},
             {#{contexts => [1]}, {bad_option, contexts, {1, not_a_map}}},
             {#{contexts => [#{name => <<"a">>}]}, {bad_option, contexts, {1, {data_dir, missing}}}},
             {#{contexts => [#{name => <<"a">>, data_dir => "d", module => no_such}]},
              {bad_option, contexts, {1, {module, no_such_module}}}},
             {#{contexts => [#{name => <<"a">>, data_dir => "d", module => lists}]},
              {bad_option, contexts, {1, {module, {not_exported, context, 1}}}}},
             {#{contexts => [{running, <<"a">>}, {running, <<"a">>}]},
              {bad_option, contexts, {duplicate_name, <<"a">>}}},
             {Minimal#{listeners => [#{port => 70000}]},
              {bad_option, listeners, {1, {port, {not_an_integer_between, 0, 65535}}}}},
             {Minimal#{listeners => [#{tls => #{key => "k"}}]},
              {bad_option, listeners, {1, {tls, {certificate, missing}}}}},
             {Minimal#{tokens => [Token, Token]}, {bad_option, tokens, {duplicate_name, <<"a">>}}},
             {Minimal#{tokens => [Token#{sha256 => <<"x">>}]}, {bad_option, tokens, {1, {sha256, {not_hex, 32}}}}},
             {Minimal#{tokens => [Token#{scopes => [#{operations => [fly]}]}]},
              {bad_option, tokens,
               {1, {scopes, {1, {operations, {1, {not_one_of, warp_server_scope:operations()}}}}}}}},
             {Minimal#{limits => #{bodies => 1}}, {bad_option, limits, {bodies, unknown_key}}},
             {Minimal#{hosts => localhost}, {bad_option, hosts, not_a_list}}],
        Wrong <- [{Given, {error, Why}}]]
    ++ [?_assertMatch({ok, #{listeners := [#{address := <<"127.0.0.1">>, port := 9090, tls := none}], keys := [_],
                             tokens := #{<<"a">> := #{in_flight := 1000}}}},
                      warp_server_options:check(Minimal#{tokens => [Token]}))].

changes_test() ->
    {ok, Settings} = warp_server_options:check(#{contexts => [], listeners => [#{port => 5}]}),
    {ok, Changed} = warp_server_options:change(#{hosts => [<<"x">>]}, Settings),
    ?assertEqual(Settings#{hosts := [<<"x">>]}, Changed),
    ?assertEqual({error, {unknown_option, contexts}}, warp_server_options:change(#{contexts => []}, Settings)),
    ?assertEqual({error, {bad_option, listeners, addresses_cannot_change}},
                 warp_server_options:change(#{listeners => [#{port => 6}]}, Settings)),
    ?assertEqual({error, {bad_option, options, not_a_map}}, warp_server_options:change(1, Settings)).

%% -------------------------------------------------------------------------------------------- Frames and windows

frames_test_() ->
    Bytes = fun iolist_to_binary/1,
    [?_assertEqual({7, request, <<"x">>}, warp_server_frame:decode(<<7:64, 6, "x">>)),
     [?_assertEqual({error, bad_frame}, warp_server_frame:decode(Bad))
      || Bad <- [<<>>, <<1:64>>, <<1:64, 0>>, <<1:64, 12>>]],
     ?_assertEqual({error, bad_frame}, warp_server_frame:term(<<131, 100, 0, 20, "no_such_atom_at_all_">>)),
     ?_assertEqual({error, bad_frame}, warp_server_frame:term(<<1>>)),
     ?_assertEqual({ok, #{a => 1}}, warp_server_frame:term([<<131>>, tl(binary_to_list(term_to_binary(#{a => 1})))])),
     ?_assertEqual(<<7:64, 4, 200:16, 1, 1:16, 1, "a", 2:16, "bc", "body">>,
                   Bytes(warp_server_frame:head(7, 200, last, [{<<"a">>, ["b", "c"]}], <<"body">>))),
     ?_assertEqual(<<7:64, 5, 0, "x">>, Bytes(warp_server_frame:data(7, more, <<"x">>))),
     ?_assertEqual(<<7:64, 5, 1, 3:16, "x">>, Bytes(warp_server_frame:message(7, last, 3, <<"x">>))),
     ?_assertEqual(<<7:64, 6, 1001:16, "bye">>, Bytes(warp_server_frame:close(7, 1001, <<"bye">>))),
     ?_assertEqual(<<7:64, 7>>, Bytes(warp_server_frame:abort(7))),
     ?_assertEqual(<<0:64, 3, 5:32>>, Bytes(warp_server_frame:stop(5)))].

window_test() ->
    Pieces = [{65536, N} || N <- lists:seq(1, 6)],
    {First, Window} = warp_server_window:put(Pieces, warp_server_window:new()),
    ?assertEqual([1, 2, 3, 4], First),
    ?assertNot(warp_server_window:is_empty(Window)),
    ?assertMatch({[], _}, warp_server_window:taken(65535, Window)),
    {[], Less} = warp_server_window:taken(65535, Window),
    {[5], Fifth} = warp_server_window:taken(1, Less),
    {[6], Last} = warp_server_window:taken(65536 * 3, Fifth),
    ?assert(warp_server_window:is_empty(Last)),
    %% Order is kept also where a small piece would fit.
    {[], Waiting} = warp_server_window:put([{1, small}], element(2, warp_server_window:put([{65536, 7}], Fifth))),
    ?assertNot(warp_server_window:is_empty(Waiting)).

%% At most so many events are with a client, and at most so many bytes of them are on their way.
credit_test() ->
    {64, New} = warp_server_credit:ask(warp_server_credit:new(1000)),
    {0, New} = warp_server_credit:ask(New),
    Event = fun(N) -> {0, {N, N}} end,
    %% Small events: more are asked for at once.
    Came = warp_server_credit:came([Event(N) || N <- lists:seq(1, 64)], 64 * 100, New),
    {124, More} = warp_server_credit:ask(Came),
    %% Large ones: one at a time.
    Large = warp_server_credit:came([Event(N) || N <- lists:seq(65, 188)], 124 * 1000000, More),
    {1, One} = warp_server_credit:ask(Large),
    {0, One} = warp_server_credit:ask(One),
    %% With three in all nothing is asked for, until the client has acknowledged some.
    {3, Few} = warp_server_credit:ask(warp_server_credit:new(3)),
    Full = warp_server_credit:came([{0, {1, 1}}, {1, {1, 1}}, {0, {2, 2}}], 300, Few),
    {0, Full} = warp_server_credit:ask(Full),
    {1, _} = warp_server_credit:ask(warp_server_credit:ack([{0, {1, 1}}], Full)),
    {2, _} = warp_server_credit:ask(warp_server_credit:ack([{0, {2, 2}}, {0, {2, 2}}, {7, {1, 1}}], Full)),
    {3, _} = warp_server_credit:ask(warp_server_credit:ack([{0, {9, 9}}, {1, {1, 1}}], Full)),
    {0, _} = warp_server_credit:ask(warp_server_credit:ack([{0, {0, 9}}], Full)).

%% A page of small events is read in few pieces, and one of large events in many.
pages_are_read_in_pieces_that_fit_test_() ->
    Reads = fun(Wanted, Bytes) ->
        Event = #{payload => binary:copy(<<"x">>, Bytes)},
        Read = fun(Limit, From) ->
            self() ! {read, Limit},
            {ok, lists:duplicate(Limit, Event), {more, From + Limit}}
        end,
        {ok, Events, {more, Next}} = warp_server_page:collect(Wanted, 0, Read),
        ?assertEqual(length(Events), Next),
        limits()
    end,
    [?_assertEqual([16, 984], Reads(1000, 100)),
     ?_assertEqual([16, 1000, 1000, 484], Reads(2500, 100)),
     ?_assertEqual([7], Reads(7, 100)),
     %% Some 100 KB each: ten to a MiB, and no more than four MiB.
     ?_assertEqual([16, 10, 10, 10], Reads(1000, 100000))].

limits() ->
    receive {read, Limit} -> [Limit | limits()] after 0 -> [] end.

%% ------------------------------------------------------------------ Which context is meant

the_only_context_may_be_left_out_test() ->
    Of = fun(Context) -> #{operations => all, context => Context, prefix => <<>>, aggregates => all} end,
    Only = fun(Names, Contexts) -> warp_server_scope:only_context(Names, [Of(Context) || Context <- Contexts]) end,
    ?assertEqual({ok, <<"a">>}, Only([<<"a">>], [all])),
    ?assertEqual({ok, <<"b">>}, Only([<<"a">>, <<"b">>], [<<"b">>, <<"c">>])),
    ?assertEqual(none, Only([<<"a">>, <<"b">>], [all])),
    ?assertEqual(none, Only([<<"a">>, <<"b">>], [<<"a">>, <<"b">>])),
    ?assertEqual(none, Only([<<"a">>], [])).
