%% The keys of lives in `warp_power_SUITE': after a loss of power each life has the key that a backup may have used,
%% and one that was deleted has none.
-module(warp_power_keys).

-export([aggregates/0, work/3, wrong/2]).

-define(ROUNDS, 20).

aggregates() -> [].

-spec work(warp_core:ctx(), warp_power:say(), binary()) -> ok.
work(Ctx, Say, Caller) ->
    lists:foreach(fun(Round) ->
        Id = <<"keyed-", Caller/binary, $-, (integer_to_binary(Round))/binary>>,
        {ok, 1} = warp_core:append(warp_core:entity(Ctx, Id),
                                   #{aggregate => <<"Counter">>, type => <<"Counted">>, payload => #{n => 1}}),
        {N, Incarnation} = warp_test_keys:life(Ctx, Id),
        Life = [integer_to_binary(N), integer_to_binary(Incarnation)],
        ok = warp_test_keys:make(Ctx, N),
        ok = Say([<<"keyed">> | Life]),
        _ = [begin
                 ok = warp_core:delete(warp_core:entity(Ctx, Id)),
                 ok = Say([<<"unkeyed">> | Life])
             end || Round rem 3 =:= 0]
    end, lists:seq(1, ?ROUNDS)).

-spec wrong(warp_core:ctx(), [[binary()]]) -> [term()].
wrong(Ctx, Said) ->
    {ok, #{dir := Folder}} = warp_context:find(Ctx),
    Dir = unicode:characters_to_list(Folder),
    Keys = [{integer_to_binary(N), warp_test_keys:read(File)}
            || {N, File} <- lists:enumerate(0, warp_test:shard_files(Dir))],
    Lives = [{What, N, binary_to_integer(At)}
             || [What, N, At] <- Said, What =:= <<"keyed">> orelse What =:= <<"unkeyed">>],
    Gone = [{N, At} || {<<"unkeyed">>, N, At} <- Lives],
    Of = fun(N, At) -> maps:get(At, proplists:get_value(N, Keys), lost) end,
    [{key_lost, N, At} || {<<"keyed">>, N, At} <- Lives, Of(N, At) =:= lost, not lists:member({N, At}, Gone)]
        ++ [{key_left, N, At} || {N, At} <- Gone, Key <- [Of(N, At)], Key =/= lost, Key =/= <<0:256>>].
