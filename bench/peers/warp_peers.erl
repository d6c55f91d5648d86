%% Compares Warp with its peers: make bench-peers. bench/peers/run starts this, and cleans up after it.
-module(warp_peers).

-export([main/0]).

-spec main() -> no_return().
main() ->
    case warp_peers_options:parse(init:get_plain_arguments()) of
        {ok, Options} ->
            try halt(run(Options))
            catch throw:Why -> failed(Why)
            end;
        help ->
            io:put_chars(warp_peers_options:usage()),
            halt(0);
        {error, Why} ->
            failed([Why, "\n", warp_peers_options:usage()])
    end.

failed(Why) ->
    io:format(standard_error, "~ts~n", [Why]),
    halt(2).

%% The status that this program ends with: 1 if something that a peer can do has failed.
run(#{only := Works, json := Json, publish := Publish, seconds := Seconds} = Options) ->
    {ok, Root} = file:get_cwd(),
    Env = #{dir => os:getenv("WARP_PEERS_DIR"), sockets => os:getenv("WARP_PEERS_SOCKETS"), root => Root,
            bin => filename:join(Root, "_build/peers"), as => string:lexemes(os:getenv("WARP_PEERS_AS"), " "),
            seconds => Seconds},
    ok = warp_peers_machine:has_room(Env, Options),
    Machine = warp_peers_machine:machine(Env, Options),
    io:format("~ts~n", [warp_peers_machine:text(Machine)]),
    Figures = works(Works, Options, Env),
    ok = warp_peers_json:write(Json, Machine, Figures),
    io:format("~nWritten to ~ts~n", [Json]),
    _ = [ok = warp_peers_publish:publish(Machine, Figures) || Publish],
    case [Figure || #{median := failed} = Figure <- Figures] of
        [] -> 0;
        _ -> 1
    end.

works([], _, _) ->
    [];
works([Work | Later], #{rounds := Rounds} = Options, Env) ->
    Figures = lists:append([warp_peers_rounds:measured(Case, Rounds, Env)
                            || Case <- warp_peers_work:cases(Work, Options)]),
    io:format("~n~ts", [warp_peers_table:text(warp_peers_work:title(Work), Figures)]),
    ok = warp_peers_rounds:cleared(Env, [Store || Next <- Later,
                                                  #{store := Store} <- warp_peers_work:cases(Next, Options),
                                                  Store =/= empty]),
    Figures ++ works(Later, Options, Env).
