#!/usr/bin/env escript
%% Calls the Gleam package's own module `warp' from Erlang: it is an ordinary module. Contexts,
%% entities and events are the terms of warp_core.
%%
%%     ERL_LIBS=gleam/consumer/build/dev/erlang escript gleam/consumer/beam/caller.escript DATA_DIR
-mode(compile).

main([Dir]) ->
    %% Started in Gleam's way, with a record that is a tuple.
    Defaults = 'warp@context':defaults(),
    warp_options = element(1, Defaults),
    Apply = fun(N, #{type := <<"Added">>, payload := #{<<"n">> := More}}) -> N + More end,
    Counter = {aggregate_definition, <<"Counter">>, 0, Apply,
               fun(_Id, _State, _Event) -> [] end, fun(Event, _Vsn) -> Event end},
    Options = lists:foldl(fun({At, Value}, Tuple) -> setelement(At, Tuple, Value) end, Defaults,
                          [{2, <<"counters">>}, {3, unicode:characters_to_binary(Dir)}, {4, [Counter]}]),
    {ok, Ctx} = warp:start(Options),
    Alice = warp:entity(Ctx, <<"alice">>),
    Events = [#{type => <<"Added">>, payload => #{n => N}} || N <- [1, 2, 3]],
    {ok, {1, 3}} = warp:append_batch(Alice, Events),
    {ok, 4} = warp:append(Alice, #{type => <<"Added">>, payload => <<"{\"n\":4}">>}),
    {ok, 10} = warp:get(Alice, <<"Counter">>),
    {ok, [5]} = warp:decide(Alice, <<"Counter">>, fun(N) ->
        {ok, [#{type => <<"Added">>, payload => #{n => N}}]}
    end),
    {ok, 6} = warp:state_at(Alice, <<"Counter">>, {seq, 3}),
    {ok, [#{seq := 1, type := <<"Added">>, payload := #{<<"n">> := 1}} | _]} = warp:history(Alice),

    %% Errors are those of warp/error: atoms and tuples of that name.
    {error, empty_batch} = warp:append_batch(Alice, []),
    {error, {refused, no}} = warp:decide(Alice, <<"Counter">>, fun(_) -> {error, no} end),
    {error, {bad_event, 1, <<"payload">>, missing} = Error} =
        warp:append(Alice, #{type => <<"Added">>}),
    <<"The payload of event 1 ", _/binary>> = 'warp@error':to_string(Error),

    %% The same handles for both modules.
    {ok, 20} = warp_core:get(Alice, <<"Counter">>),
    {ok, Exported} = warp:export(Alice),
    5 = length(Exported),
    {ok, nil} = warp:delete(Alice),
    nil = warp:stop(Ctx),
    {error, context_stopped} = warp:get(Alice, <<"Counter">>),
    io:put_chars("ok the module warp called from Erlang\n").
