%% @private The gateway, and the processes of its channels. Starts the program, hands its frames to the processes of
%% their channels, and kills it when it says nothing any more. When the gateway has ended, this process ends, all
%% channels with it, and its supervisor starts it again.
-module(warp_server_link).
-behaviour(gen_server).

-export([start_link/1, configure/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(state, {
    server :: warp_server_settings:id(),
    port = none :: none | port(),
    os_pid = none :: none | non_neg_integer(),
    writer = none :: none | warp_server_writer:writer(),
    quota :: warp_server_quota:quota(),
    %% When the gateway was last heard of.
    heard_at = 0 :: integer(),
    channels = #{} :: #{warp_server_frame:channel() => pid()},
    owners = #{} :: #{pid() => {warp_server_frame:channel(), request | {socket, Token :: binary()}}},
    %% Who waits for the gateway to take a configuration.
    configuring = [] :: [gen_server:from()]
}).

%% How long the gateway may take to listen, for the first start.
-define(START_MS, 15000).
%% The pause before a gateway that has ended is started again, and before one that could not listen.
-define(AGAIN_MS, 100).
-define(RETRY_MS, 1000).
%% How long what is under way may take when the server stops.
-define(STOP_MS, 3000).
%% How long the process of a request may go on after its client has gone. It could wait for minutes, and the gateway
%% counts it no longer.
-define(LEFT_MS, 1000).
-define(MAX_REASON_BYTES, 1000).

%% @doc Starts the gateway. For the first time this returns when it listens, and fails with `{gateway, Why}' otherwise.
-spec start_link(warp_server_settings:id()) -> gen_server:start_ret().
start_link(Server) ->
    gen_server:start_link(?MODULE, Server, []).

%% @doc Tells the gateway what has changed in the settings, and waits until it has taken that.
-spec configure(pid()) -> ok | {error, {gateway, Why :: binary()} | timeout}.
configure(Link) ->
    try
        gen_server:call(Link, configure)
    catch
        exit:{timeout, _} -> {error, timeout};
        %% The next gateway gets the new settings.
        exit:_ -> ok
    end.

-spec init(warp_server_settings:id()) -> {ok, #state{}} | {stop, term()}.
init(Server) ->
    _ = process_flag(trap_exit, true),
    State = #state{server = Server, quota = warp_server_quota:new()},
    case warp_server_settings:addresses(Server) of
        [] ->
            case open(State) of
                {ok, Opened} -> first(Opened);
                {error, Why} -> {stop, {shutdown, {gateway, Why}}}
            end;
        _ ->
            _ = erlang:send_after(?AGAIN_MS, self(), open),
            {ok, State}
    end.

first(#state{port = Port} = State) ->
    receive
        {Port, {data, Frame}} ->
            case warp_server_frame:decode(Frame) of
                {0, ready, Body} -> begin_serving(ready(Body, State), State);
                {0, failed, Why} -> {stop, {shutdown, {gateway, shortened(Why)}}};
                _ -> first(State)
            end;
        {'EXIT', Port, _} -> {stop, {shutdown, {gateway, <<"it has ended">>}}}
    after ?START_MS ->
        ok = kill(State),
        {stop, {shutdown, {gateway, <<"it does not answer">>}}}
    end.

begin_serving(ok, State) ->
    {ok, State};
begin_serving(error, State) ->
    ok = kill(State),
    {stop, {shutdown, {gateway, <<"it does not say where it listens">>}}}.

%% NOTE: without `exit_status', with which the end of a program is sometimes not told.
open(#state{server = Server} = State) ->
    #{gateway := #{program := Program}} = Settings = warp_server_settings:read(Server),
    Options = [{packet, 4}, binary, use_stdio, {busy_limits_port, {1 bsl 19, 1 bsl 20}}],
    try open_port({spawn_executable, Program}, Options) of
        Port -> {ok, opened(Port, Settings, State)}
    catch
        error:Why -> {error, iolist_to_binary(io_lib:format("~ts cannot be started: ~p", [Program, Why]))}
    end.

opened(Port, #{gateway := #{ping_ms := Ping}} = Settings, State) ->
    OsPid = case erlang:port_info(Port, os_pid) of {os_pid, Id} -> Id; undefined -> none end,
    Writer = warp_server_writer:start_link(Port),
    ok = warp_server_writer:send(Writer, warp_server_frame:configure(warp_server_config:json(Settings))),
    _ = erlang:send_after(Ping, self(), ping),
    State#state{port = Port, os_pid = OsPid, writer = Writer, heard_at = now_ms()}.

ready(Body, #state{server = Server}) ->
    case warp_server_frame:term(Body) of
        {ok, Addresses} -> served(warp_server_settings:served(Server, Addresses), Addresses);
        {error, bad_frame} -> error
    end.

served(ok, Addresses) ->
    Shown = [[Address, $:, integer_to_binary(Port)] || {Address, Port} <- Addresses],
    warp_server_log:gateway(info, ["listening on ", lists:join(", ", Shown)]);
served({error, bad_addresses}, _) ->
    error.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(configure, _From, #state{writer = none} = State) ->
    {reply, ok, State};
handle_call(configure, From, #state{server = Server, writer = Writer, owners = Owners} = State) ->
    #state{configuring = Waiting} = State,
    %% What was allowed to a channel may be so no more.
    ok = lists:foreach(fun(Pid) -> Pid ! configured end, maps:keys(Owners)),
    Json = warp_server_config:json(warp_server_settings:read(Server)),
    ok = warp_server_writer:send(Writer, warp_server_frame:configure(Json)),
    {noreply, State#state{configuring = Waiting ++ [From]}};
handle_call(_, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Port, {data, Frame}}, #state{port = Port} = State) ->
    case warp_server_frame:decode(Frame) of
        {0, Kind, Body} -> of_link(Kind, Body, State);
        {error, bad_frame} -> bad_gateway(State);
        {Channel, Kind, Body} -> {noreply, dispatch(Channel, Kind, Body, State)}
    end;
handle_info({'EXIT', Port, _}, #state{port = Port} = State) when is_port(Port) ->
    ok = warp_server_log:gateway(warning, "the gateway has ended, and is started again"),
    {stop, {shutdown, gateway_ended}, State};
handle_info({'EXIT', Writer, _}, #state{writer = Writer} = State) when is_pid(Writer) ->
    {stop, {shutdown, gateway_ended}, State};
handle_info({'EXIT', Pid, Why}, #state{owners = Owners, channels = Channels, quota = Quota} = State) ->
    case maps:take(Pid, Owners) of
        {{Channel, Kind}, Others} ->
            _ = [warp_server_quota:ended(Quota, {Token, Pid}) || {socket, Token} <- [Kind]],
            _ = [broken(Channel, Kind, State) || Why =/= normal, Why =/= shutdown],
            {noreply, State#state{owners = Others, channels = maps:remove(Channel, Channels)}};
        error ->
            {noreply, State}
    end;
handle_info({left, Pid}, #state{owners = Owners} = State) ->
    _ = [exit(Pid, shutdown) || is_map_key(Pid, Owners)],
    {noreply, State};
handle_info(open, State) ->
    case open(State) of
        {ok, Opened} ->
            {noreply, Opened};
        {error, Why} ->
            ok = warp_server_log:gateway(error, Why),
            _ = erlang:send_after(?RETRY_MS, self(), open),
            {noreply, State}
    end;
handle_info(ping, #state{server = Server, writer = Writer, heard_at = HeardAt} = State) ->
    #{gateway := #{ping_ms := Ping, silent_ms := Silent}} = warp_server_settings:read(Server),
    case now_ms() - HeardAt of
        Ago when Ago > Silent ->
            ok = warp_server_log:gateway(error, "the gateway does not answer, and is killed"),
            ok = kill(State),
            {stop, {shutdown, gateway_silent}, State};
        _ ->
            ok = warp_server_writer:send(Writer, warp_server_frame:ping(<<"ping">>)),
            _ = erlang:send_after(Ping, self(), ping),
            {noreply, State}
    end;
handle_info(_, State) ->
    {noreply, State}.

%% ------------------------------------------------------------------------------------------------- The link itself

of_link(pong, _, State) ->
    {noreply, State#state{heard_at = now_ms()}};
of_link(ready, Body, State) ->
    case ready(Body, State) of
        ok -> {noreply, State};
        error -> bad_gateway(State)
    end;
of_link(failed, Why, State) ->
    ok = warp_server_log:gateway(error, ["the gateway cannot serve: ", shortened(Why)]),
    timer:sleep(?RETRY_MS),
    {stop, {shutdown, gateway_failed}, State};
of_link(refused, Body, State) ->
    case warp_server_frame:term(Body) of
        {ok, Refused} -> audited(Refused, State);
        {error, bad_frame} -> bad_gateway(State)
    end;
of_link(reloaded, Text, #state{configuring = [From | Waiting]} = State) ->
    gen_server:reply(From, case Text of <<>> -> ok; _ -> {error, {gateway, shortened(Text)}} end),
    {noreply, State#state{configuring = Waiting}};
of_link(_, _, State) ->
    {noreply, State}.

audited([{Why, Peer, Count} | Refused], State) when is_binary(Why), is_binary(Peer), is_integer(Count) ->
    ok = warp_server_log:audit(refused, #{why => Why, peer => Peer, count => Count}),
    audited(Refused, State);
audited([], State) ->
    {noreply, State};
audited(_, State) ->
    bad_gateway(State).

%% It has a fault, and what it sends cannot be relied on.
bad_gateway(State) ->
    ok = warp_server_log:gateway(error, "the gateway sent what is no frame, and is killed"),
    ok = kill(State),
    {stop, {shutdown, bad_gateway}, State}.

kill(#state{os_pid = none}) -> ok;
kill(#state{os_pid = OsPid}) ->
    _ = os:cmd("kill -KILL " ++ integer_to_list(OsPid)),
    ok.

shortened(<<Text:?MAX_REASON_BYTES/binary, _/binary>>) -> Text;
shortened(Text) -> Text.

now_ms() -> erlang:monotonic_time(millisecond).

%% ---------------------------------------------------------------------------------------------------- Channels

dispatch(Channel, Kind, Body, #state{channels = Channels, owners = Owners} = State) ->
    case Channels of
        #{Channel := Pid} when Kind =:= closed ->
            Pid ! closed,
            _ = [erlang:send_after(?LEFT_MS, self(), {left, Pid}) || #{Pid := {_, request}} <- [Owners]],
            State#state{channels = maps:remove(Channel, Channels)};
        #{Channel := Pid} ->
            Pid ! {Kind, Body},
            State;
        #{} ->
            begun(Channel, Kind, Body, State)
    end.

begun(Channel, Kind, Body, #state{server = Server, writer = Writer} = State) when Kind =:= part; Kind =:= request ->
    Pid = warp_server_request:start_link(Server, Channel, Writer),
    Pid ! {Kind, Body},
    owned(Channel, Pid, request, State);
begun(Channel, socket, Body, #state{server = Server, writer = Writer, quota = Quota} = State) ->
    case warp_server_frame:term(Body) of
        {ok, #{} = Open} ->
            case warp_server_access:caller(Server, Open) of
                {ok, #{token := Token} = Caller} ->
                    owned(Channel, warp_server_socket:start_link(Channel, Writer, Quota, Caller), {socket, Token},
                          State);
                error ->
                    ok = broken(Channel, {socket, none}, State),
                    State
            end;
        _ ->
            ok = broken(Channel, {socket, none}, State),
            State
    end;
%% Of a channel that has ended meanwhile.
begun(_, _, _, State) ->
    State.

owned(Channel, Pid, Kind, #state{channels = Channels, owners = Owners} = State) ->
    State#state{channels = Channels#{Channel => Pid}, owners = Owners#{Pid => {Channel, Kind}}}.

%% The process of the channel was killed, or cannot be started.
broken(Channel, request, #state{writer = Writer}) ->
    warp_server_writer:send(Writer, warp_server_frame:abort(Channel));
broken(Channel, {socket, _}, #state{writer = Writer}) ->
    warp_server_writer:send(Writer, warp_server_frame:close(Channel, 1011, <<"internal">>)).

%% The gateway finishes what is under way, and ends by itself. One that does not ends with its port.
-spec terminate(term(), #state{}) -> ok.
terminate(shutdown, #state{port = Port, writer = Writer} = State) when is_port(Port) ->
    ok = warp_server_writer:send(Writer, warp_server_frame:stop(?STOP_MS)),
    finish(erlang:send_after(?STOP_MS + 1000, self(), too_late), State);
terminate(_, State) ->
    %% NOTE: one that was stopped by a signal would live on without its port.
    kill(State).

finish(Timer, #state{port = Port} = State) ->
    receive
        {Port, {data, Frame}} ->
            Finishing =
                case warp_server_frame:decode(Frame) of
                    {Channel, Kind, Body} when Channel > 0 -> dispatch(Channel, Kind, Body, State);
                    _ -> State
                end,
            finish(Timer, Finishing);
        {'EXIT', Port, _} -> ok;
        too_late -> kill(State)
    end.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(
        fun(state, #state{channels = Channels}) -> #{channels => map_size(Channels)};
           (message, _) -> hidden;
           (log, _) -> [];
           (_, Value) -> Value
        end,
        Status).
