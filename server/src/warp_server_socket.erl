%% @private The process of one WebSocket. It makes appends by itself, as requests whose answers it takes as they come,
%% so that thousands are under way; whatever can wait runs in a process of its own. Answers and events that are there
%% together go out as one message.
-module(warp_server_socket).

-export([start_link/4, run/1, work/3]).

-record(state, {
    channel :: warp_server_frame:channel(),
    link :: pid(),
    writer :: warp_server_writer:writer(),
    quota :: warp_server_quota:quota(),
    caller :: warp_server_access:caller(),
    window = warp_server_window:new() :: warp_server_window:window(),
    %% Parts of calls whose end has not come.
    parts = [] :: iodata(),
    %% What goes out with the next message, the last first, how many calls it answers, and its bytes.
    ready = [] :: [iodata()],
    answered = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    appends = warp_core:reqids_new() :: warp_core:request_id_collection(),
    %% The timer that looks for appends which have taken too long.
    sweep = none :: none | reference(),
    %% By process, the id of the call that it carries out.
    workers = #{} :: #{pid() => Id :: pos_integer()},
    subscriptions :: warp_server_subscriptions:subscriptions()
}).

%% How many answers wait for others at most.
-define(MAX_READY, 256).
-define(PIECE_BYTES, 65536).
%% How long answers wait for others.
-define(GATHER_MS, 1).
-define(APPEND_MS, 5000).
-define(SWEEP_MS, 500).
-define(IDLE_MS, 1000).

%% @doc Starts the process of a channel, which gets the frames of the channel as messages.
-spec start_link(warp_server_frame:channel(), warp_server_writer:writer(), warp_server_quota:quota(),
                 warp_server_access:caller()) -> pid().
start_link(Channel, Writer, Quota, Caller) ->
    Link = self(),
    spawn_link(fun() ->
        _ = process_flag(trap_exit, true),
        run(#state{channel = Channel, link = Link, writer = Writer, quota = Quota, caller = Caller,
                   subscriptions = warp_server_subscriptions:new()})
    end).

%% @private Where the process goes on after it slept.
%%
%% NOTE: it ends with `shutdown', and with it the processes that carry out its calls. They could wait for minutes, and
%% those of sockets that have ended are counted by no limit.
-spec run(#state{}) -> no_return().
run(#state{channel = Channel, writer = Writer} = State) ->
    try loop(State) of
        {hibernate, Idle} -> erlang:hibernate(?MODULE, run, [Idle]);
        ended -> exit(shutdown)
    catch
        throw:{close, Code, Reason} ->
            ok = warp_server_writer:send(Writer, warp_server_frame:close(Channel, Code, Reason)),
            exit(shutdown);
        Class:Reason:Stack ->
            ok = warp_server_log:crash(socket, Class, Reason, Stack),
            ok = warp_server_writer:send(Writer, warp_server_frame:close(Channel, 1011, <<"internal">>)),
            exit(shutdown)
    end.

loop(#state{ready = [], link = Link} = State) ->
    receive
        closed -> ended;
        {'EXIT', Link, _} -> ended;
        Message -> loop(message(Message, State))
    after ?IDLE_MS -> {hibernate, State}
    end;
loop(#state{answered = Answered, bytes = Bytes, link = Link} = State)
  when Answered < ?MAX_READY, Bytes < ?PIECE_BYTES ->
    receive
        closed -> ended;
        {'EXIT', Link, _} -> ended;
        Message -> loop(message(Message, State))
    after patience(State) -> loop(flush(State))
    end;
loop(State) ->
    loop(flush(State)).

%% While more appends are under way than answers are ready, others are likely to come at once: a message costs more than
%% to wait for them.
patience(#state{answered = Answered, appends = Appends}) ->
    case warp_core:reqids_size(Appends) > Answered of
        true -> ?GATHER_MS;
        false -> 0
    end.

message({calls, Bytes}, #state{parts = Parts} = State) ->
    case warp_server_frame:term([Parts | Bytes]) of
        {ok, Calls} when is_list(Calls) -> lists:foldl(fun call/2, State#state{parts = []}, Calls);
        _ -> throw({close, 1011, <<"internal">>})
    end;
message({part, Bytes}, #state{parts = Parts} = State) ->
    State#state{parts = [Parts | Bytes]};
message({taken, <<Bytes:32>>}, #state{window = Window} = State) ->
    gone_on(sent(warp_server_window:taken(Bytes, Window), State));
message({Id, Sub, Message}, #state{subscriptions = Subs} = State) when is_integer(Id) ->
    case warp_server_subscriptions:message(Id, Sub, Message, is_taking(State), Subs) of
        {push, Json, Now} -> push(Json, State#state{subscriptions = Now});
        ignored -> State
    end;
message({'EXIT', Worker, Why}, #state{workers = Workers} = State) ->
    case maps:take(Worker, Workers) of
        {Id, Others} -> worked(Id, Why, State#state{workers = Others});
        error -> State
    end;
message({'DOWN', Monitor, process, _, _}, #state{subscriptions = Subs, quota = Quota, caller = Caller} = State) ->
    case warp_server_subscriptions:down(Monitor, Subs) of
        {push, Json, Others} ->
            ok = warp_server_quota:give_back(Quota, maps:get(token, Caller), self()),
            push(Json, State#state{subscriptions = Others});
        ignored ->
            State
    end;
message(configured, #state{subscriptions = Subs, quota = Quota, caller = #{token := Token}} = State) ->
    {Said, Left} = warp_server_subscriptions:refused(Subs),
    lists:foldl(
        fun(Json, Acc) ->
            ok = warp_server_quota:give_back(Quota, Token, self()),
            push(Json, Acc)
        end,
        State#state{subscriptions = Left}, Said);
message(sweep, State) ->
    swept(State);
message(Message, #state{appends = Appends} = State) ->
    case warp_core:check_response(Message, Appends, true) of
        {Response, {Id, _Until, Kind}, Others} -> appended(Kind, Id, Response, State#state{appends = Others});
        _ -> State
    end.

%% ------------------------------------------------------------------------------------------------------- Calls

call(#{<<"op">> := <<"ack">>} = Call, #state{subscriptions = Subs} = State) ->
    case warp_server_args:check(ack, maps:without([<<"id">>, <<"op">>, <<"context">>], Call), json) of
        {ok, Args} ->
            Acked = State#state{subscriptions = warp_server_subscriptions:ack(Args, is_taking(State), Subs)},
            case Call of
                #{<<"id">> := Id} when is_integer(Id) -> ok(Id, <<"{}">>, Acked);
                #{} -> Acked
            end;
        {error, _} ->
            throw({close, 4400, <<"an ack has a subscription, and events or an erased entity">>})
    end;
call(#{<<"id">> := Id, <<"op">> := Name} = Call, State) when is_integer(Id), Id > 0, is_binary(Name) ->
    case warp_server_subscriptions:has(Id, State#state.subscriptions) of
        true -> throw({close, 4400, <<"the id of a call is that of a subscription">>});
        false -> operation(Name, Id, maps:without([<<"id">>, <<"op">>], Call), State)
    end;
call(_, _) ->
    throw({close, 4400, <<"a call is an object with id and op">>}).

%% NOTE: what most calls are, without the ways of the others.
operation(<<"append">>, Id, #{<<"context">> := Context, <<"entity">> := Entity, <<"event">> := Event} = Given,
          #state{caller = Caller} = State)
  when map_size(Given) =:= 3, is_binary(Context), is_binary(Entity) ->
    begun(warp_server_call:permitted(append, #{entity => Entity, event => Event}, Context, Caller), Id, State);
operation(Name, Id, Given, State) ->
    any_operation(operation(Name), Id, Given, State).

operation(Name) ->
    try binary_to_existing_atom(Name) catch error:badarg -> unknown end.

any_operation(unsubscribe, Id, Given, #state{subscriptions = Subs, quota = Quota, caller = Caller} = State) ->
    case warp_server_args:check(unsubscribe, maps:remove(<<"context">>, Given), json) of
        {ok, #{subscription := Other}} ->
            case warp_server_subscriptions:remove(Other, Subs) of
                {ok, Others} ->
                    ok = warp_server_quota:give_back(Quota, maps:get(token, Caller), self()),
                    ok(Id, <<"{}">>, State#state{subscriptions = Others});
                none ->
                    ok(Id, <<"{}">>, State)
            end;
        {error, Reason} ->
            failed(Id, Reason, State)
    end;
any_operation(Operation, Id, Given, #state{caller = Caller} = State) ->
    begun(warp_server_call:prepare(Operation, Given, json, Caller), Id, State).

begun({ok, Prepared}, Id, State) -> begin_call(Prepared, Id, State);
begun({error, Reason}, Id, State) -> failed(Id, Reason, State).

begin_call({append, #{entity := Entity, event := Event} = Args, {Ctx, _}}, Id, State) ->
    Options = warp_server_call:append_options(Args),
    Request = warp_core:append_request(warp_core:entity(Ctx, Entity), warp_server_call:event(Event), Options),
    requested(Request, one, Id, Args, State);
begin_call({append_batch, #{entity := Entity, events := Events} = Args, {Ctx, _}}, Id, State) ->
    Options = warp_server_call:append_options(Args),
    Request = warp_core:append_batch_request(warp_core:entity(Ctx, Entity), warp_server_call:events(Events), Options),
    requested(Request, batch, Id, Args, State);
begin_call({subscribe, Args, {Ctx, #{name := Name}}}, Id, #state{quota = Quota, caller = Caller} = State) ->
    #state{subscriptions = Subs} = State,
    #{server := Server, token := Token} = Caller,
    #{tokens := #{Token := #{subscriptions := Max}}} = warp_server_settings:read(Server),
    case warp_server_quota:take(Quota, Token, self(), Max) of
        ok ->
            May = warp_server_access:may(subscribe, Args, Name, Caller),
            case warp_server_subscriptions:add(Id, Args, Ctx, May, Subs) of
                {ok, Json, Others} ->
                    ok(Id, Json, State#state{subscriptions = Others});
                {error, Reason} ->
                    ok = warp_server_quota:give_back(Quota, Token, self()),
                    failed(Id, Reason, State)
            end;
        full ->
            failed(Id, {too_many_subscriptions, Max}, State)
    end;
begin_call({Operation, Args, Target}, Id, #state{workers = Workers, caller = Caller} = State) ->
    Worker = spawn_link(?MODULE, work, [Operation, Args, {Target, Caller}]),
    State#state{workers = Workers#{Worker => Id}}.

requested(Request, Kind, Id, Args, #state{appends = Appends} = State) ->
    Until = erlang:monotonic_time(millisecond) + maps:get(timeout, Args, ?APPEND_MS),
    sweeping(State#state{appends = warp_core:reqids_add(Request, {Id, Until, Kind}, Appends)}).

sweeping(#state{sweep = none} = State) -> State#state{sweep = erlang:send_after(?SWEEP_MS, self(), sweep)};
sweeping(State) -> State.

%% @private What a worker does. Its result is the reason of its end, so that it is one message.
-spec work(atom(), map(), term()) -> no_return().
work(Operation, Args, Target) ->
    Result =
        try
            warp_server_call:run(Operation, Args, Target)
        catch
            Class:Reason:Stack ->
                ok = warp_server_log:crash(Operation, Class, Reason, Stack),
                {error, internal}
        end,
    exit({shutdown, {result, Operation, Result}}).

worked(Id, {shutdown, {result, _, {ok, Json}}}, State) ->
    ok(Id, Json, State);
worked(Id, {shutdown, {result, Operation, {error, Reason}}}, State) ->
    ok = warp_server_call:log(Operation, Reason),
    failed(Id, Reason, State);
worked(Id, _Killed, State) ->
    failed(Id, internal, State).

appended(one, Id, {ok, Seq}, State) ->
    ok(Id, [<<"{\"seq\":">>, integer_to_binary(Seq), $}], State);
appended(batch, Id, {ok, {First, Last}}, State) ->
    ok(Id, [<<"{\"first\":">>, integer_to_binary(First), <<",\"last\":">>, integer_to_binary(Last), $}], State);
appended(_, Id, {error, Reason}, State) ->
    ok = warp_server_call:log(append, Reason),
    failed(Id, Reason, State).

%% Answers appends that have taken too long, and keeps looking while there are others.
swept(#state{appends = Appends} = State0) ->
    State = State0#state{sweep = none},
    Now = erlang:monotonic_time(millisecond),
    case warp_core:reqids_to_list(Appends) of
        [] ->
            State;
        All ->
            case lists:partition(fun({_, {_, Until, _}}) -> Until =< Now end, All) of
                {[], _} ->
                    sweeping(State);
                {Late, InTime} ->
                    Add = fun({Request, Label}, Requests) -> warp_core:reqids_add(Request, Label, Requests) end,
                    Left = lists:foldl(Add, warp_core:reqids_new(), InTime),
                    sweeping(lists:foldl(fun give_up/2, State#state{appends = Left}, Late))
            end
    end.

give_up({Request, {Id, _, Kind}}, State) ->
    case warp_core:receive_response(Request, 0) of
        timeout -> failed(Id, timeout, State);
        Response -> appended(Kind, Id, Response, State)
    end.

%% ----------------------------------------------------------------------------------------------------- Answers

ok(Id, Json, State) ->
    answer([<<"{\"id\":">>, integer_to_binary(Id), <<",\"ok\":">>, Json, $}], State).

failed(Id, Reason, State) ->
    {_, Json} = warp_server_problem:json(Reason),
    answer([<<"{\"id\":">>, integer_to_binary(Id), <<",\"error\":">>, Json, $}], State).

answer(Json, #state{answered = Answered} = State) ->
    push(Json, State#state{answered = Answered + 1}).

push(Json, #state{ready = Ready, bytes = Bytes} = State) ->
    State#state{ready = [Json | Ready], bytes = Bytes + iolist_size(Json)}.

%% Everything that is ready, as one message.
flush(#state{ready = Ready, answered = Answered, channel = Channel, window = Window} = State) ->
    Message =
        case Ready of
            [Json] -> iolist_to_binary(Json);
            _ -> iolist_to_binary([$[, lists:join($,, lists:reverse(Ready)), $]])
        end,
    sent(warp_server_window:put(pieces(Message, Answered, Channel), Window),
         State#state{ready = [], answered = 0, bytes = 0}).

pieces(<<Piece:?PIECE_BYTES/binary, Rest/binary>>, Answered, Channel) when Rest =/= <<>> ->
    [{?PIECE_BYTES, warp_server_frame:message(Channel, more, Answered, Piece)} | pieces(Rest, 0, Channel)];
pieces(Last, Answered, Channel) ->
    [{byte_size(Last), warp_server_frame:message(Channel, last, Answered, Last)}].

sent({Frames, Window}, #state{writer = Writer} = State) ->
    ok = lists:foreach(fun(Frame) -> warp_server_writer:send(Writer, Frame) end, Frames),
    State#state{window = Window}.

%% Whether the client takes what is sent, so that nothing waits here.
is_taking(#state{window = Window}) -> warp_server_window:is_empty(Window).

gone_on(#state{subscriptions = Subs} = State) ->
    case is_taking(State) of
        true -> State#state{subscriptions = warp_server_subscriptions:go_on(Subs)};
        false -> State
    end.
