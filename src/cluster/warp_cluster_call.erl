%% @private Calls of functions that concern one shard: where the shard is on this node they run here, and else on the
%% node that has it, in one hop. While a shard is handed over they wait.
-module(warp_cluster_call).

-export([run/5, reach/3, ask/3, request/3, serving/1]).

-export_type([call/0, order/0, safety/0]).

-type call() ::
    {module(), Function :: atom(), Args :: [term()]}
    | {module(), Function :: atom(), Args :: [term()], order()}.
%% On the node where they run, calls with the same key run one after the other, in the order in which they come, also
%% those that this node makes itself. And who makes such a call says of which shard, and in which epoch, it is the
%% owner: once the node where it would run has heard of a later epoch, it refuses the call with `{old_epoch, N}'.
-type order() :: {Key :: term(), N :: non_neg_integer(), Epoch :: non_neg_integer()}.
%% Whether a call may be made again when it is not known whether it was carried out. An `idempotent' one changes
%% something, and so it is still not known when it could not be made again.
-type safety() :: repeatable | idempotent | once.

%% How long a call waits before it looks again where a shard is.
-define(LOOK_MS, 50).
%% The pause before a message is sent again to a node that takes none just now.
-define(BUSY_MS, 2).
%% How long a call of another node waits for a shard that is on its way here, or being opened. It is woken when that is
%% done, while the node that sent it would only look again from time to time.
-define(ARRIVAL_MS, 1000).
%% The process of another node's call has this in its dictionary, with the time until which it waits: it is not sent on.
-define(SERVING, warp_cluster_serving).

%% @doc Runs a call of a public function where shard N is. `Local' is the same here, and the result of both. The call
%% ends by the deadline if what it runs does.
%%
%% Errors beside those of the function: `{node_unavailable, Node}': the shard's node cannot be reached, and nothing was
%% done. `{unknown_outcome, Node}': the connection was lost after the call was sent; a repeatable call is made again,
%% and an idempotent one if it can be. `timeout'; `overloaded': the node takes no messages just now.
-spec run(warp_context:context(), non_neg_integer(), call(),
          {safety(), fun(() -> warp_deadline:deadline())}, fun(() -> Result)) -> Result | {error, term()}.
run(#{owners := Owners} = Context, N, Call, {Safety, Patience}, Local) ->
    case warp_context_owners:is_single(Owners) of
        true -> Local();
        false -> run(warp_context_owners:where(Context, N), Context, N, Call, {Safety, Patience()}, Local)
    end.

run(here, Context, N, Call, How, Local) ->
    case tuple_size(Call) =:= 4 andalso get(?SERVING) =:= undefined of
        true -> in_order(Context, N, Call, How, Local);
        false -> here(Context, N, Call, How, Local)
    end;
run({at, Node}, Context, N, Call, {_, Deadline} = How, Local) ->
    case get(?SERVING) of
        Until when Until =/= undefined ->
            {error, {not_here, Node}};
        undefined ->
            case warp_context:log(Context, N) of
                {ok, {remote, Server, _, _, _}} ->
                    again(ask(Server, Call, Deadline), Context, N, Call, How, Local);
                {error, {node_unavailable, _}} = Error ->
                    Error;
                _ ->
                    look_again({at, Node}, Context, N, Call, How, Local)
            end
    end;
run(Where, Context, N, Call, {_, Deadline} = How, Local) ->
    case get(?SERVING) of
        undefined ->
            look_again(Where, Context, N, Call, How, Local);
        Until ->
            case moved(Where, Context, N, warp_deadline:earlier(Until, Deadline)) of
                {ok, Next, Now} -> run(Next, Now, N, Call, How, Local);
                {error, context_stopped} = Error -> Error;
                {error, _} -> {error, {not_here, node()}}
            end
    end.

here(Context, N, Call, How, Local) ->
    case Local() of
        {error, {shard_unavailable, N}} = Unavailable ->
            case warp_context_owners:where(Context, N) of
                here -> Unavailable;
                Where -> tried(fun() -> run(Where, Context, N, Call, How, Local) end, How)
            end;
        Result ->
            Result
    end.

%% The process that takes such calls of other nodes takes this one too.
in_order(Context, N, Call, {_, Deadline} = How, Local) ->
    case warp_context:registered(Context, {cluster_server, N}) of
        {ok, Server} ->
            %% The answer closes the alias, and ends the monitor.
            Alias = erlang:monitor(process, Server, [{alias, reply_demonitor}]),
            Server ! {warp_call, Alias, Call},
            receive
                {[alias | Alias], Answer} -> again(Answer, Context, N, Call, How, Local);
                {'DOWN', Alias, process, _, _} -> {error, interrupted}
            after warp_deadline:left(Deadline) ->
                _ = erlang:demonitor(Alias, [flush]),
                ok = warp_call:give_up(#{Alias => []}),
                {error, timeout}
            end;
        none ->
            {error, interrupted}
    end.

look_again(Where, Context, N, Call, {_, Deadline} = How, Local) ->
    case moved(Where, Context, N, Deadline) of
        {ok, Next, Now} -> run(Next, Now, N, Call, How, Local);
        {error, _} = Error -> Error
    end.

%% Waits until the shard is somewhere else, and looks where.
moved(Where, #{ref := Ref} = Context, N, Deadline) ->
    ok = warp_context_owners:await_change(Context, N, Where, {?LOOK_MS, Deadline}),
    case {warp_deadline:is_over(Deadline), warp_context:find(Ref)} of
        {_, not_found} -> {error, context_stopped};
        {true, _} -> {error, late(Where, N)};
        {false, {ok, Now}} -> {ok, warp_context_owners:where(Now, N), Now}
    end.

late(unknown, N) -> {shard_unavailable, N};
late(_Where, _N) -> timeout.

%% The other node does not have the shard any more, or not yet.
again({error, {not_here, Node}}, Context, N, Call, How, Local) ->
    tried(fun() -> look_again({at, Node}, Context, N, Call, How, Local) end, How);
again({error, {unknown_outcome, Node}}, Context, N, Call, {repeatable, _} = How, Local) ->
    look_again({at, Node}, Context, N, Call, How, Local);
again({error, {unknown_outcome, Node}}, Context, N, Call, {idempotent, _} = How, Local) ->
    tried(fun() -> look_again({at, Node}, Context, N, Call, How, Local) end, How);
again(Result, _Context, _N, _Call, _How, _Local) ->
    Result.

%% What was tried before may have begun, also where the shard has gone since: a deletion goes with its shard.
tried(Again, {idempotent, _}) ->
    case Again() of
        {error, {node_unavailable, Node}} -> {error, {unknown_outcome, Node}};
        Result -> Result
    end;
tried(Again, _How) ->
    Again().

%% @doc What takes requests for shard N, when it is known: `here', or a process of another node. Waits while the shard
%% is being handed over. Errors: those of {@link run/5} that come before anything was sent.
-spec reach(warp_context:context(), non_neg_integer(), fun(() -> warp_deadline:deadline())) ->
    here | {ok, pid()} | {error, term()}.
reach(#{owners := Owners} = Context, N, Patience) ->
    case warp_context_owners:is_single(Owners) orelse warp_context_owners:is_here(Context, N) of
        true -> here;
        false -> reached(warp_context_owners:where(Context, N), Context, N, Patience())
    end.

reached(here, _Context, _N, _Deadline) ->
    here;
reached(Where, Context, N, Deadline) ->
    case {Where, warp_context:log(Context, N)} of
        {{at, _}, {ok, {remote, Server, _, _, _}}} ->
            {ok, Server};
        {{at, _}, {error, {node_unavailable, _}} = Error} ->
            Error;
        _ ->
            case moved(Where, Context, N, Deadline) of
                {ok, Next, Now} -> reached(Next, Now, N, Deadline);
                {error, _} = Error -> Error
            end
    end.

%% @doc Has a process of another node make a request, in the order in which the calling process asks, whose response
%% comes to the alias as `{response, Response}', or as an error when the node is lost.
-spec request(pid(), call(), warp_deadline:deadline()) -> {ok, warp_call:alias()} | {error, term()}.
request(Server, Call, Deadline) ->
    case warp_requests:expect_linked(Server) of
        {ok, Alias} ->
            case send(Server, {warp_request, Alias, Call}, Deadline) of
                ok ->
                    {ok, Alias};
                {error, _} = Error ->
                    ok = warp_requests:forget(Alias),
                    ok = warp_call:give_up(#{Alias => []}),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Has a process of another node run a call, and gives its result. Errors beside those of the function: see {@link
%% run/5}.
-spec ask(pid(), call(), warp_deadline:deadline()) -> term().
ask(Server, Call, Deadline) ->
    case warp_requests:expect_linked(Server) of
        {ok, Alias} ->
            Result =
                case send(Server, {warp_call, Alias, Call}, Deadline) of
                    ok -> await(Alias, warp_deadline:left(Deadline));
                    {error, _} = Error -> Error
                end,
            ok = warp_requests:forget(Alias),
            case Result of
                {answer, Answer} ->
                    Answer;
                none ->
                    ok = warp_call:give_up(#{Alias => []}),
                    {error, timeout};
                {error, _} ->
                    ok = warp_call:give_up(#{Alias => []}),
                    Result
            end;
        {error, _} = Error ->
            Error
    end.

await(Alias, infinity) ->
    receive {[alias | Alias], Answer} -> {answer, Answer} end;
await(Alias, Millis) ->
    warp_call:await(Alias, Millis).

%% Waits while the node takes no messages, until the deadline.
send(Server, Message, Deadline) ->
    case erlang:send(Server, Message, [noconnect, nosuspend]) of
        ok ->
            ok;
        noconnect ->
            {error, {node_unavailable, node(Server)}};
        nosuspend ->
            case warp_deadline:left(Deadline) of
                0 ->
                    {error, overloaded};
                Left ->
                    ok = timer:sleep(min(?BUSY_MS, Left)),
                    send(Server, Message, Deadline)
            end
    end.

%% @doc Runs what another node has called. Where the shard is not here, it says so.
-spec serving(call()) -> term().
serving({Module, Function, Args, _Order}) ->
    serving({Module, Function, Args});
serving({Module, Function, Args}) ->
    _ = put(?SERVING, warp_deadline:from(?ARRIVAL_MS)),
    apply(Module, Function, Args).
