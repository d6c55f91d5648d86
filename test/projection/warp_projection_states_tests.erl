-module(warp_projection_states_tests).

-include_lib("eunit/include/eunit.hrl").

kept_test_() ->
    {setup, fun warp_test:new_dir/0, fun warp_test:remove_dir/1,
     fun(Dir) ->
         [{atom_to_list(Name), {timeout, 30, fun() -> Test(context(Dir)) end}}
          || {Name, Test} <- [{comes_back_equal, fun comes_back_equal/1}, {only_data, fun only_data/1},
                              {others_do_not_fit, fun others_do_not_fit/1}, {forgotten, fun forgotten/1},
                              {changed_bytes, fun changed_bytes/1}, {not_there, fun not_there/1}]]
     end}.

context(Dir) ->
    #{ref => make_ref(), name => <<"test">>, dir => unicode:characters_to_binary(Dir)}.

state(State) -> #{<<"A">> => {ok, State}, <<"B">> => {error, {apply_failed, x}}}.

files(#{dir := Dir}) -> filelib:wildcard("states-*.db", unicode:characters_to_list(Dir)).

comes_back_equal(Context) ->
    Kept = warp_projection_states:new(Context, 0, 1),
    ?assert(warp_projection_states:is_empty(Kept)),
    All = [{<<"e", (integer_to_binary(N))/binary>>, N, state(State)}
           || {N, State} <- lists:enumerate(
                  [1, -1, 1 bsl 200, 1.5, -0.0, atom, <<>>, <<"é"/utf8, 0, 255>>, <<5:3>>, [], [a | b], "text",
                   {}, {1, {2}}, #{}, #{#{} => [#{a => 1}]}, maps:from_keys(lists:seq(1, 100), x),
                   binary:copy(<<1>>, 100000)])],
    {Found, _} = warp_projection_states:find([E || {E, _, _} <- All], warp_projection_states:keep(All, Kept)),
    [?assertEqual({Seq, State}, maps:get(E, Found)) || {E, Seq, State} <- All],
    ?assertEqual(length(All), map_size(Found)),
    %% The state that was written last is found.
    Newer = warp_projection_states:keep([{<<"e1">>, 9, state(9)}], warp_projection_states:keep(All, Kept)),
    {Again, _} = warp_projection_states:find([<<"e1">>], Newer),
    ?assertEqual(#{<<"e1">> => {9, state(9)}}, Again).

only_data(Context) ->
    Deep = lists:foldl(fun(_, T) -> [T | T] end, x, lists:seq(1, 40)),
    All = [{<<"e", (integer_to_binary(N))/binary>>, N, state(State)}
           || {N, State} <- lists:enumerate(
                  [fun() -> ok end, fun lists:map/2, self(), make_ref(), hd(erlang:ports()), [1, {#{a => self()}}],
                   binary:copy(<<1>>, 2000000), Deep, lists:seq(1, 200000)])],
    Kept = warp_projection_states:keep([{<<"fine">>, 1, state(1)} | All], warp_projection_states:new(Context, 0, 1)),
    {Found, _} = warp_projection_states:find([<<"fine">> | [E || {E, _, _} <- All]], Kept),
    ?assertEqual([<<"fine">>], maps:keys(Found)).

others_do_not_fit(Context) ->
    Kept = warp_projection_states:keep([{<<"a">>, 1, state(1)}], warp_projection_states:new(Context, 0, 1)),
    {Found, _} = warp_projection_states:find([<<"b">>, <<"c">>], Kept),
    ?assertEqual(#{}, Found).

forgotten(Context) ->
    Kept = warp_projection_states:keep([{<<"a">>, 1, state(1)}, {<<"b">>, 1, state(2)}],
                                       warp_projection_states:new(Context, 0, 1)),
    {Found, _} = warp_projection_states:find([<<"a">>, <<"b">>], warp_projection_states:forget(<<"a">>, Kept)),
    ?assertEqual([<<"b">>], maps:keys(Found)).

%% A changed state is not found, nor is one of another entity or of another time.
changed_bytes(#{dir := Dir} = Context) ->
    Kept = warp_projection_states:keep([{<<"a">>, 1, state(1)}, {<<"b">>, 1, state(2)}, {<<"c">>, 1, state(3)}],
                               warp_projection_states:new(Context, 0, 1)),
    [File] = files(Context),
    Path = filename:join(Dir, File),
    _ = warp_test:sqlite(Path, "UPDATE states SET state = (SELECT s.state FROM states s ORDER BY key LIMIT 1)"),
    {Found, After} = warp_projection_states:find([<<"a">>, <<"b">>, <<"c">>], Kept),
    ?assertEqual(1, map_size(Found)),
    _ = warp_test:sqlite(Path, "UPDATE states SET seq = 2"),
    ?assertMatch({#{} = None, _} when map_size(None) =:= 0,
                 warp_projection_states:find([<<"a">>, <<"b">>, <<"c">>], After)),
    _ = warp_test:sqlite(Path, "UPDATE states SET state = 'x'"),
    ?assertMatch({#{} = None, _} when map_size(None) =:= 0,
                 warp_projection_states:find([<<"a">>, <<"b">>, <<"c">>], After)).

%% A file that fails is given up, and the next states go to a new one.
not_there(#{dir := Dir} = Context) ->
    Kept = warp_projection_states:keep([{<<"a">>, 1, state(1)}], warp_projection_states:new(Context, 0, 1)),
    [File] = files(Context),
    _ = warp_test:sqlite(filename:join(Dir, File), "DROP TABLE states"),
    {Found, Empty} = warp_projection_states:find([<<"a">>], Kept),
    ?assertEqual({#{}, true}, {Found, warp_projection_states:is_empty(Empty)}),
    ?assertEqual([], files(Context)),
    {Again, _} = warp_projection_states:find([<<"a">>], warp_projection_states:keep([{<<"a">>, 2, state(2)}], Empty)),
    ?assertEqual(#{<<"a">> => {2, state(2)}}, Again),
    ok = warp_projection_states:clean(Context),
    ?assertEqual([], files(Context)).
