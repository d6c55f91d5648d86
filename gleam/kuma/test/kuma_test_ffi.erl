%% Functions for the tests of Kuma that cannot be written in Gleam: logs that Kuma did not write, and bytes
%% that no encoder writes.
-module(kuma_test_ffi).

-export([foreign_logs/2, hostile/0, late_constructor/1, atoms/0, pid/1]).

%% Writes logs as another program would: the context has no `apply' that could refuse an event.
foreign_logs(Dir, Logs) ->
    Aggregates = [#{name => <<"Entity">>, initial_state => none}],
    {ok, Ctx} = warp_core:start(#{context => <<"kuma">>, data_dir => Dir, shards => 1,
                                  aggregates => Aggregates}),
    [{ok, _} = warp_core:append_batch(
         warp_core:entity(Ctx, Id), [#{type => Type, payload => Payload} || {Type, Payload} <- Events])
     || {Id, Events} <- Logs],
    ok = warp_core:stop(Ctx),
    nil.

%% Payloads that claim to be terms, and that must not be read as terms.
hostile() ->
    Names = [<<"z", (integer_to_binary(erlang:unique_integer([positive])))/binary>>
             || _ <- lists:seq(1, 200)],
    News = << <<119, (byte_size(Name)), Name/binary>> || Name <- Names >>,
    [json(<<131, 108, 200:32, News/binary, 106>>),
     json(term_to_binary(lists:seq(1, 100000), [compressed])),
     json(term_to_binary(fun lists:reverse/1)),
     json(term_to_binary(fun() -> ok end)),
     json(term_to_binary(self())),
     json(<<(term_to_binary({deposited, 1}))/binary, 0>>),
     json(<<131, 104, 255>>),
     json(<<131, 105, 16#ffffffff:32>>),
     json(<<131, 108, 16#ffffffff:32, 97, 1>>),
     json(<<131, 109, 16#ffffffff:32>>),
     json(<<131>>),
     json(<<>>),
     <<"{\"$term\":\"no base64\"}">>,
     <<"{\"$term\":5}">>,
     <<"{\"$term\":{}}">>,
     <<"{\"amount\":5}">>,
     <<"{}">>].

json(Bytes) ->
    <<"{\"$term\":\"", (base64:encode(Bytes))/binary, "\"}">>.

atoms() ->
    erlang:system_info(atom_count).

%% The payload for an atom that no loaded module has, but a module in a folder of the code path.
late_constructor(Dir) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Module = "kuma_late_" ++ Unique,
    Name = list_to_binary("late_constructor_" ++ Unique),
    Path = unicode:characters_to_list(Dir),
    Source = filename:join(Path, Module ++ ".erl"),
    ok = file:write_file(Source, ["-module(", Module, ").\n-export([f/0]).\nf() -> ", Name, ".\n"]),
    [] = os:cmd("erlc -o '" ++ Path ++ "' '" ++ Source ++ "'"),
    true = code:add_pathz(Path),
    json(<<131, 119, (byte_size(Name)), Name/binary>>).

%% The process of an entity.
pid(Entity) ->
    {ok, Pid} = warp_core:pid(Entity),
    Pid.
