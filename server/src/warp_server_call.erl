%% @private Carries out the operations of a context: from arguments that were checked to JSON text.
-module(warp_server_call).

-export([prepare/4, permitted/4, run/3, context/2, events/1, event/1, append_options/1, log/2]).

-export_type([prepared/0, result/0]).

%% A call that may be carried out: of this operation, with these arguments, in this context.
-type prepared() :: {Operation :: atom(), Args :: map(), Target :: target()}.
-type target() :: none | {warp_core:ctx(), warp_server_options:context()}.
-type result() :: {ok, Json :: iodata()} | {error, Reason :: term()}.

%% @doc Checks arguments and permissions, and finds the context. `Given' may have the context's name.
-spec prepare(atom(), map(), warp_server_args:form(), warp_server_access:caller()) ->
    {ok, prepared()} | {error, term()}.
prepare(token, Given, Form, _Caller) ->
    case warp_server_args:check(token, Given, Form) of
        {ok, Args} -> {ok, {token, Args, none}};
        {error, _} = Error -> Error
    end;
prepare(Operation, Given, Form, Caller) ->
    case warp_server_args:check(Operation, maps:remove(<<"context">>, Given), Form) of
        {ok, Args} ->
            case warp_server_access:context(Given, Caller) of
                {ok, Name} -> permitted(Operation, Args, Name, Caller);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Checks permissions, and finds the context, for arguments that were checked.
-spec permitted(atom(), map(), Context :: binary(), warp_server_access:caller()) ->
    {ok, prepared()} | {error, term()}.
permitted(Operation, Args, Name, Caller) ->
    Permissions = warp_server_access:permissions(Operation, Args, Name),
    case warp_server_access:check(Operation, Permissions, Caller) of
        ok -> in(Operation, Args, Name, Caller);
        {error, _} = Error -> Error
    end.

in(Operation, Args, Name, #{server := Server} = Caller) ->
    case context(Name, Server) of
        {ok, Target} ->
            _ = [warp_server_log:audit(done, (warp_server_access:about(Caller))#{
                     operation => Operation, context => Name, entity => maps:get(entity, Args)})
                 || Operation =:= export orelse Operation =:= delete],
            {ok, {Operation, Args, Target}};
        {error, _} = Error ->
            Error
    end.

%% @doc The handle of a context and what the server knows of it.
-spec context(binary(), warp_server_settings:id()) -> {ok, target()} | {error, term()}.
context(Name, Server) ->
    case warp_server_settings:read(Server) of
        #{contexts := #{Name := Known}} ->
            case warp_core:context(Name) of
                {ok, Ctx} -> {ok, {Ctx, Known}};
                {error, _} = Error -> Error
            end;
        #{} ->
            {error, {unknown_context, Name}}
    end.

%% @doc Carries out a call, in a process that may wait.
-spec run(atom(), map(), {target(), warp_server_access:caller()}) -> result().
run(append, #{event := Event} = Args, {{Ctx, _}, _}) ->
    case warp_core:append(entity(Ctx, Args), event(Event), append_options(Args)) of
        {ok, Seq} -> {ok, [<<"{\"seq\":">>, integer_to_binary(Seq), $}]};
        {error, _} = Error -> Error
    end;
run(append_batch, #{events := Events} = Args, {{Ctx, _}, _}) ->
    case warp_core:append_batch(entity(Ctx, Args), events(Events), append_options(Args)) of
        {ok, {First, Last}} -> encoded(#{first => First, last => Last});
        {error, _} = Error -> Error
    end;
run(get, #{seq := _, time := _}, _) ->
    {error, {bad_request, <<"A state is that after a seq or at a time, and not both.">>}};
run(get, #{aggregate := Name} = Args, {{Ctx, #{views := Views}}, _}) ->
    Options = maps:with([timeout], Args),
    Read =
        case Args of
            #{seq := Seq} -> warp_core:state_at(entity(Ctx, Args), Name, {seq, Seq}, Options);
            #{time := Time} -> warp_core:state_at(entity(Ctx, Args), Name, {time, Time}, Options);
            #{} -> warp_core:get(entity(Ctx, Args), Name, Options)
        end,
    case Read of
        {ok, State} ->
            case warp_server_json:state(State, maps:get(Name, Views, none)) of
                {ok, Json} -> {ok, warp_server_json:object([{<<"state">>, Json}])};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end;
run(history, Args, {{Ctx, _}, _}) ->
    history(Args, entity(Ctx, Args), maps:with([direction, timeout], Args));
run(export, Args, {{Ctx, _}, _}) ->
    history(Args, entity(Ctx, Args), #{migrate => false});
run(delete, Args, {{Ctx, _}, _}) ->
    result(warp_core:delete(entity(Ctx, Args), (maps:with([timeout], Args))#{receipt => true}),
           %% Who may delete need not know where backups are kept.
           fun(#{backups := Backups} = Receipt) ->
               Receipt#{deleted => true, backups := [Cut || #{cut := Cut} <- Backups]}
           end);
run(command, #{name := Name} = Args, {{Ctx, #{commands := Commands}}, _}) ->
    case {Commands, warp_json:decode(maps:get(input, Args, <<"{}">>))} of
        {#{Name := {Aggregate, Fun}}, {ok, Input}} ->
            Decide = fun(State) -> own_reason(Fun(State, Input)) end,
            result(warp_core:decide(entity(Ctx, Args), Aggregate, Decide, maps:with([timeout], Args)),
                   fun(Seqs) -> #{seqs => Seqs} end);
        {#{Name := _}, {error, Why}} -> {error, {bad_option, <<"input">>, Why}};
        _ -> {error, {unknown_command, Name}}
    end;
run(entities, Args, {{Ctx, _}, _}) ->
    result(warp_core:entities(Ctx, Args),
           fun(#{next := Next} = Page) -> Page#{next := warp_server_args:after_text(Next)} end);
run(events, Args, {{Ctx, _}, _}) ->
    Options = maps:without([limit, 'after'], Args),
    Read = fun(Limit, After) ->
        case warp_core:events(Ctx, Options#{limit => Limit, 'after' => After}) of
            {ok, #{events := Events, next := Next, more := true}} -> {ok, Events, {more, Next}};
            {ok, #{events := Events, next := Next, more := false}} -> {ok, Events, {done, Next}};
            {error, _} = Error -> Error
        end
    end,
    case warp_server_page:collect(limit(events, Args), maps:get('after', Args, #{}), Read) of
        {ok, Events, {More, Next}} ->
            {ok, warp_server_json:object([{<<"events">>, warp_server_json:list(Events)},
                                          {<<"next">>, warp_server_json:encode(warp_server_args:after_text(Next))},
                                          {<<"more">>, atom_to_binary(More =:= more)}])};
        {error, _} = Error ->
            Error
    end;
run(query, #{sql := Sql} = Args, {{Ctx, _}, _}) ->
    result(warp_core:query(Ctx, Sql, maps:get(params, Args, []), maps:with([max_rows, timeout], Args)), fun rows/1);
run(wait, #{seq := Seq} = Args, {{Ctx, _}, _}) ->
    Timeout = maps:get(timeout, Args, warp_server_args:default(wait, timeout)),
    Until = erlang:monotonic_time(millisecond) + Timeout,
    Entity = entity(Ctx, Args),
    case warp_core:wait(Entity, Seq, Timeout) of
        {ok, _} when map_get(projection, Args) ->
            Left = max(0, Until - erlang:monotonic_time(millisecond)),
            done(warp_core:await_projection(Entity, Left), #{});
        {ok, _} -> encoded(#{});
        {error, _} = Error -> Error
    end;
run(stats, _, {{Ctx, _}, _}) ->
    case warp_core:stats(Ctx) of
        #{} = Stats -> encoded(warp_server_json:plain(Stats));
        {error, _} = Error -> Error
    end;
run(parked, #{name := Name}, {{Ctx, _}, _}) ->
    result(warp_subscription:parked(Ctx, Name), fun(Parked) -> #{parked => warp_server_json:plain(Parked)} end);
run(retry, #{name := Name, entity := Id}, {{Ctx, _}, _}) -> done(warp_subscription:retry(Ctx, Name, Id), #{});
run(skip, #{name := Name, entity := Id}, {{Ctx, _}, _}) -> done(warp_subscription:skip(Ctx, Name, Id), #{});
run(forget, #{name := Name}, {{Ctx, _}, _}) ->
    %% NOTE: the process that has the name means nothing to a client.
    case warp_subscription:forget(Ctx, Name) of
        {error, {in_use, _}} -> {error, {in_use, Name}};
        Forgotten -> done(Forgotten, #{})
    end;
run(acknowledge, Args, {{_, #{name := Context}}, Caller}) ->
    done(warp_server_consume:ack(Args, Context, Caller), #{});
%% What only a request by HTTP has.
run(Operation, _, _) when Operation =:= consume; Operation =:= entity_stream; Operation =:= shard_stream ->
    {error, unknown_operation};
run(token, Args, {none, Caller}) ->
    warp_server_mint:token(Args, Caller);
run(Operation, Args, {{Ctx, _}, _}) ->
    warp_server_sagas:run(Operation, Args, Ctx).

limit(Operation, Args) -> maps:get(limit, Args, warp_server_args:default(Operation, limit)).

entity(Ctx, #{entity := Id}) -> warp_core:entity(Ctx, Id).

%% Errors of the engine mean what they say, so a function's own reason is marked as such.
own_reason({error, Reason}) -> {error, {refused, Reason}};
own_reason(Decision) -> Decision.

done(ok, Result) -> encoded(Result);
done({error, _} = Error, _) -> Error.

result({ok, Value}, Show) -> encoded(Show(Value));
result({error, _} = Error, _) -> Error.

encoded(Term) -> {ok, warp_server_json:encode(Term)}.

%% ------------------------------------------------------------------------------------------------ Appending

%% @doc The options of an append.
-spec append_options(map()) -> warp_core:append_options().
append_options(Args) -> maps:with([expected, timeout], Args).

%% @doc Events as the engine takes them, which checks them.
-spec events(term()) -> term().
events(Events) when is_list(Events) -> [event(Event) || Event <- Events];
events(Other) -> Other.

%% @doc One event.
-spec event(term()) -> term().
event(#{<<"type">> := Type, <<"payload">> := Payload, <<"aggregate">> := Name} = Given) when map_size(Given) =:= 3 ->
    #{type => Type, payload => Payload, aggregate => Name};
event(#{} = Given) -> maps:fold(fun(Key, Value, Event) -> field(Key, Value, Event) end, #{}, Given);
event(Other) -> Other.

field(<<"type">>, Type, Event) -> Event#{type => Type};
field(<<"payload">>, Payload, Event) -> Event#{payload => Payload};
field(<<"aggregate">>, Name, Event) -> Event#{aggregate => Name};
field(<<"id">>, Id, Event) -> Event#{id => Id};
field(<<"schema_vsn">>, Vsn, Event) -> Event#{schema_vsn => warp_server_args:whole(Vsn)};
field(<<"metadata">>, Metadata, Event) -> Event#{metadata => Metadata};
field(Unknown, Value, Event) -> Event#{Unknown => Value}.

%% ------------------------------------------------------------------------------------------------- Reading

history(Args, Entity, Options) ->
    Step = case Options of #{direction := backward} -> -1; #{} -> 1 end,
    Read = fun(Limit, From) ->
        case warp_core:history(Entity, maps:merge(Options#{limit => Limit}, From)) of
            {ok, Events} when length(Events) =:= Limit ->
                #{seq := Last} = lists:last(Events),
                {ok, Events, {case Last + Step of 0 -> done; _ -> more end, #{from => Last + Step}}};
            {ok, Events} -> {ok, Events, {done, #{}}};
            {error, _} = Error -> Error
        end
    end,
    case warp_server_page:collect(limit(history, Args), maps:with([from], Args), Read) of
        {ok, Events, {More, Next}} ->
            Shown = case More of more -> integer_to_binary(maps:get(from, Next)); done -> <<"null">> end,
            {ok, warp_server_json:object([{<<"events">>, warp_server_json:list(Events)}, {<<"next">>, Shown}])};
        {error, _} = Error ->
            Error
    end.

rows(#{columns := Columns, rows := Rows}) ->
    #{columns => Columns, rows => [[cell(Cell) || Cell <- Row] || Row <- Rows]}.

cell({blob, Bytes}) -> #{blob => base64:encode(Bytes)};
cell(Value) -> Value.

%% @doc Logs a reason that is the server's own fault, since the client is told no more than that.
-spec log(atom(), Reason :: term()) -> ok.
log(Operation, Reason) ->
    #{code := Code} = warp_server_problem:object(Reason),
    _ = [warp_server_log:problem(Operation, Reason) || warp_server_problem:is_internal(Code), Reason =/= internal],
    ok.
