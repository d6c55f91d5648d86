%% What a broken gateway could send: frames, requests and calls that make no sense, or nearly. A channel may end over
%% them, and the link with its gateway; the server serves on, and keeps nothing of them. WARP_LONG=1 sends 200,000.
-module(warp_server_fuzz_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

%% How many channels there are at once, and how many frames come for them.
-define(CHANNELS, 20).
-define(FRAMES, 200).
-define(MAX_FRAME, 256 * 1024).

suite() -> [{timetrap, {hours, 2}}].

all() ->
    [frames_and_arguments_are_read_or_refused, what_is_no_frame_of_the_link_ends_the_gateway_alone,
     whatever_comes_the_server_serves].

init_per_suite(Config) -> warp_server_http_SUITE:init_per_suite(Config).
end_per_suite(_) -> ok.

init_per_testcase(_, Config) ->
    warp_hostile:seed(),
    %% The log says of each request why it failed, and of each export that it was made.
    #{level := Level} = logger:get_primary_config(),
    ok = logger:set_primary_config(level, critical),
    [{level, Level} | warp_server_http_SUITE:init_per_testcase(any, Config)].

end_per_testcase(_, Config) ->
    ok = logger:set_primary_config(level, ?config(level, Config)),
    warp_server_http_SUITE:end_per_testcase(any, Config).

inputs() ->
    case os:getenv("WARP_LONG") of false -> 4000; _ -> 200000 end.

%% Reading makes no atoms, and gives what it says that it gives.
frames_and_arguments_are_read_or_refused(_) ->
    [ok = read() || _ <- lists:seq(1, 1000)],
    Atoms = erlang:system_info(atom_count),
    [ok = read() || _ <- lists:seq(1, inputs())],
    %% Those of modules that are loaded meanwhile.
    ?assert(erlang:system_info(atom_count) - Atoms < 100),
    New = <<"no_", (integer_to_binary(rand:uniform(1 bsl 64)))/binary>>,
    ?assertEqual({error, bad_frame}, warp_server_frame:term(<<131, 119, (byte_size(New)), New/binary>>)),
    ?assertEqual({error, bad_frame}, warp_server_frame:term(term_to_binary(lists:duplicate(1000, 0), [compressed]))).

read() ->
    Frame = frame(channel(1)),
    case warp_server_frame:decode(Frame) of
        {Channel, Kind, Body} when is_integer(Channel), is_atom(Kind), is_binary(Body) ->
            case warp_server_frame:term(Body) of
                {ok, _} -> ok;
                {error, bad_frame} -> ok
            end;
        {error, bad_frame} -> ok
    end,
    Operation = warp_hostile:one_of(operations()),
    case warp_server_args:check(Operation, arguments(Operation), warp_hostile:one_of([json, text])) of
        {ok, #{}} -> ok;
        {error, {unknown_field, _}} -> ok;
        {error, {bad_option, Name, _}} when is_binary(Name) -> ok
    end.

what_is_no_frame_of_the_link_ends_the_gateway_alone(Config) ->
    Server = ?config(server, Config),
    Port = warp_server_test:port(Server),
    Children = fun() -> lists:keydelete(link, 1, supervisor:which_children(Server)) end,
    Before = Children(),
    Frame = fun(Kind, Term) -> <<0:64, Kind, (term_to_binary(Term))/binary>> end,
    [begin
         Link = link_of(Server),
         Monitor = monitor(process, Link),
         Link ! {warp_server_test:gateway_pid(Server), {data, Bad}},
         receive {'DOWN', Monitor, _, _, Why} -> ?assertEqual({Bad, {shutdown, bad_gateway}}, {Bad, Why}) end,
         ok = warp_test:wait_until(fun() -> served(Server) end, 30000),
         ?assertEqual(Port, warp_server_test:port(Server)),
         ?assertEqual(Before, Children())
     end || Bad <- [<<>>, <<1:64>>, <<1:64, 0>>, <<0:64, 255>>, <<0:64, 1>>, Frame(1, []), Frame(1, a),
                    Frame(1, [{<<"127.0.0.1">>, 1}]), Frame(1, [{<<"127.0.0.1">>, -1}]),
                    Frame(1, [{<<"127.0.0.1">>, Port}, {<<"127.0.0.1">>, Port}]),
                    <<0:64, 4, 1>>, Frame(4, a), Frame(4, [a]), Frame(4, [{<<"why">>, <<"peer">>, 1} | a])]].

whatever_comes_the_server_serves(Config) ->
    Server = ?config(server, Config),
    {contexts, Contexts, _, _} = lists:keyfind(contexts, 1, supervisor:which_children(Server)),
    Port = warp_server_test:port(Server),
    %% So that all entities are in memory.
    _ = [?assertMatch({200, _}, pay(Server, Entity)) || Entity <- entities()],
    ok = sent(10, 1, Server),
    Before = kept(),
    ok = sent(inputs() div ?FRAMES, 1000000, Server),
    ?assertEqual(Port, warp_server_test:port(Server)),
    ?assertMatch({contexts, Contexts, _, _}, lists:keyfind(contexts, 1, supervisor:which_children(Server))),
    ?assertEqual([], warp_server_test:workers()),
    ok = warp_test:wait_until(fun() -> is_as_before(Before, kept()) end, 60000),
    ct:pal("processes and bytes before: ~p, after: ~p", [Before, kept()]),
    {ok, Socket} = warp_websocket:open(Port, "admin-token"),
    ?assertMatch({ok, #{<<"context">> := <<"bank">>}},
                 warp_websocket:call(Socket, #{id => 1, op => stats, context => <<"bank">>})),
    ok = warp_websocket:close(Socket).

%% Sends rounds of frames, each for channels of its own, which are closed then.
sent(0, _, _) -> ok;
sent(Rounds, First, Server) ->
    Link = link_of(Server),
    Gateway = warp_server_test:gateway_pid(Server),
    [Link ! {Gateway, {data, frame(channel(First))}} || _ <- lists:seq(1, ?FRAMES)],
    [Link ! {Gateway, {data, <<Channel:64, 10>>}} || Channel <- lists:seq(First, First + ?CHANNELS)],
    %% It has taken all of them, or has ended.
    _ = catch gen_server:call(Link, nothing, 30000),
    ok = warp_test:wait_until(fun() -> served(Server) end, 30000),
    ok = warp_test:wait_until(fun() -> warp_server_test:workers() =:= [] end, 30000),
    sent(Rounds - 1, First + ?CHANNELS + 1, Server).

link_of(Server) ->
    ok = warp_test:wait_until(fun() -> is_port(catch warp_server_test:gateway_pid(Server)) end, 30000),
    warp_server_sup:link(Server).

served(Server) ->
    try pay(Server, hd(entities())) of {200, _} -> true; _ -> false catch error:_ -> false end.

pay(Server, Entity) ->
    Path = "/v1/contexts/bank/entities/" ++ binary_to_list(Entity) ++ "/events",
    warp_server_test:post(Server, Path, #{type => <<"Paid">>, aggregate => <<"Account">>, payload => #{amount => 1}}).

kept() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    {length(processes()), erlang:memory(total)}.

is_as_before({Processes, Bytes}, {ProcessesNow, BytesNow}) ->
    ProcessesNow =< Processes + 20 andalso BytesNow =< Bytes + (48 bsl 20).

%% ------------------------------------------------------------------------------------------------------- Frames

channel(First) -> First + rand:uniform(?CHANNELS) - 1.

%% Most are of channels and nearly right. One of 500 is of the link itself, and one of 2,000 is no frame.
frame(Channel) ->
    case rand:uniform(2000) of
        1 -> rand:bytes(rand:uniform(30) - 1);
        N when N =< 4 -> <<0:64, (warp_hostile:one_of([1, 3, 4, 5, 6, 7, 8, 9, 10, 11])), (body(of_link()))/binary>>;
        N when N =< 300 -> <<Channel:64, 6, (body(request()))/binary>>;
        N when N =< 600 -> <<Channel:64, 7, (body(socket()))/binary>>;
        N when N =< 1700 -> <<Channel:64, 8, (body(calls()))/binary>>;
        N when N =< 1800 -> <<Channel:64, 9, (rand:uniform(300000)):32>>;
        N when N =< 1850 -> <<Channel:64, 10>>;
        N when N =< 1880 -> <<Channel:64, 5, (rand:bytes(rand:uniform(30)))/binary>>;
        _ -> <<Channel:64, (rand:uniform(11)), (body(warp_hostile:term()))/binary>>
    end.

%% A term, now and then damaged. What has no room in a frame is left away.
body(Term) ->
    case term_to_binary(Term) of
        Bytes when byte_size(Bytes) > ?MAX_FRAME -> <<>>;
        Bytes -> case rand:uniform(20) of 1 -> warp_hostile:mutated(Bytes); _ -> Bytes end
    end.

of_link() ->
    Text = fun() -> warp_hostile:one_of([<<"127.0.0.1:1">>, <<"why">>, warp_hostile:term()]) end,
    Entry = {Text(), Text(), warp_hostile:one_of([1, warp_hostile:term()])},
    warp_hostile:one_of([[{<<"127.0.0.1">>, warp_hostile:one_of([0, 1, 80, 70000, -1, a])}], [Entry, Entry],
                         [Entry | Entry], warp_hostile:term()]).

socket() ->
    maybe_spoilt(#{<<"token">> => warp_hostile:one_of([<<"admin">>, <<"admin">>, <<"alice">>, <<"nobody">>]),
                   <<"peer">> => <<"127.0.0.1:1">>}).

request() ->
    {Method, Shape, Operation} = warp_hostile:one_of(warp_server_router:routes()),
    Path = [case Segment of _ when is_atom(Segment) -> value(Segment, Operation); _ -> Segment end || Segment <- Shape],
    Bound = [atom_to_binary(Segment) || Segment <- Shape, is_atom(Segment)],
    Given = maps:without(Bound, case Operation of
                                    _ when Operation =:= health; Operation =:= openapi -> #{};
                                    _ -> arguments(Operation)
                                end),
    Body =
        case Given of
            #{<<"event">> := #{} = Event} -> #{<<"body">> => maps:merge(maps:remove(<<"event">>, Given), Event)};
            _ when Method =:= <<"POST">> -> #{<<"body">> => Given};
            #{} -> #{}
        end,
    Query = case Method of <<"POST">> -> []; _ -> [{Name, text(Value)} || {Name, Value} <- maps:to_list(Given)] end,
    maybe_spoilt(maps:merge(Body, #{<<"method">> => Method, <<"path">> => Path, <<"query">> => Query,
                                    <<"headers">> => #{}, <<"token">> => <<"admin">>, <<"peer">> => <<"127.0.0.1:1">>,
                                    <<"tls">> => false})).

text(N) when is_integer(N) -> integer_to_binary(N);
text(Value) -> Value.

calls() ->
    Calls = [call() || _ <- lists:seq(1, rand:uniform(4))],
    case rand:uniform(50) of 1 -> [warp_hostile:term() | Calls]; 2 -> Calls ++ a; _ -> Calls end.

call() ->
    Operation = warp_hostile:one_of(operations()),
    Args = arguments(Operation),
    maybe_spoilt(Args#{<<"id">> => rand:uniform(200), <<"op">> => atom_to_binary(Operation),
                       <<"context">> => <<"bank">>}).

%% One of 20 has something else under one of its names.
maybe_spoilt(Map) ->
    case rand:uniform(20) of
        1 -> Map#{warp_hostile:one_of(maps:keys(Map)) => warp_hostile:term()};
        2 -> maps:remove(warp_hostile:one_of(maps:keys(Map)), Map);
        _ -> Map
    end.

%% ---------------------------------------------------------------------------------------------------- Arguments

operations() ->
    lists:usort([Operation || {_, _, Operation} <- warp_server_router:routes()] -- [health, openapi])
    ++ [append, append, append_batch, wait, subscribe, subscribe, unsubscribe, ack].

%% All that it needs and some of the rest, most of it right.
arguments(Operation) ->
    maps:from_list([{atom_to_binary(Name), given(Name, Operation)}
                    || {Name, Need, _} <- warp_server_args:arguments(Operation),
                       Need =:= required orelse rand:uniform(3) =:= 1]).

given(Name, Operation) ->
    case rand:uniform(15) of
        1 -> warp_hostile:json(3);
        2 -> warp_hostile:term();
        _ -> value(Name, Operation)
    end.

entities() -> [<<"a">>, <<"b">>, <<"c">>, <<"d">>, <<"e">>].

value(entity, _) -> warp_hostile:one_of(entities());
value(context, _) -> <<"bank">>;
value(aggregate, _) -> warp_hostile:one_of([<<"Account">>, <<"Pair">>, <<"Raw">>, <<"None">>]);
value(event, _) -> event();
value(events, ack) ->
    [[rand:uniform(3) - 1, rand:uniform(1000), rand:uniform(1000)] || _ <- lists:seq(1, rand:uniform(3))];
value(events, _) -> [event() || _ <- lists:seq(1, rand:uniform(4))];
value(expected, _) -> warp_hostile:one_of([<<"any">>, <<"no_stream">>, rand:uniform(50)]);
value(Millis, _) when Millis =:= timeout; Millis =:= wait -> rand:uniform(60) - 1;
value(name, command) -> warp_hostile:one_of([<<"withdraw">>, <<"secret">>, <<"crash">>, <<"none">>]);
value(name, _) -> warp_hostile:one_of([<<"n">>, <<"m">>]);
value(input, _) -> warp_hostile:one_of([<<"{\"amount\":1}">>, <<"[]">>, <<"{">>]);
value(sql, _) -> warp_hostile:one_of([<<"SELECT 1">>, <<"SELECT ?">>, <<"DROP TABLE x">>, <<"SELECT * FROM x">>]);
value(params, _) -> [warp_hostile:json(1)];
value(steps, _) -> [step() || _ <- lists:seq(1, rand:uniform(3))];
value(from, subscribe) ->
    warp_hostile:one_of([<<"beginning">>, <<"now">>, #{<<"time">> => 1}, #{<<"cursor">> => <<"x">>}]);
value(direction, _) -> warp_hostile:one_of([<<"forward">>, <<"backward">>]);
value('after', _) -> warp_hostile:one_of([<<"AAA">>, <<"AAAAAAAAAAAAAA">>, <<"AA">>]);
value(state, _) -> warp_hostile:one_of([<<"stuck">>, <<"pending">>]);
value(projection, _) -> true;
value(Names, _) when Names =:= aggregates; Names =:= types -> [<<"Account">>, <<"Paid">>];
value(scopes, _) -> [#{<<"operations">> => [<<"read">>]}];
value(saga, _) -> <<"s", (integer_to_binary(rand:uniform(20)))/binary>>;
value(Text, _) when Text =:= prefix; Text =:= note; Text =:= erased -> warp_hostile:one_of([<<"a">>, <<>>]);
value(_Number, _) -> rand:uniform(200).

event() ->
    Event = #{<<"type">> => <<"Paid">>, <<"aggregate">> => value(aggregate, append),
              <<"payload">> => warp_hostile:one_of([<<"{\"amount\":1}">>, <<"{\"amount\":-1}">>, <<"{}">>, <<"[">>])},
    case rand:uniform(4) of
        1 -> Event#{<<"id">> => integer_to_binary(rand:uniform(1000))};
        2 -> maybe_spoilt(Event);
        _ -> Event
    end.

step() ->
    Action = #{<<"type">> => <<"Paid">>, <<"payload">> => <<"{\"amount\":1}">>},
    maybe_spoilt(#{<<"entity">> => value(entity, saga), <<"aggregate">> => <<"Account">>, <<"forward">> => Action,
                   <<"compensate">> => maybe_spoilt(Action)}).
