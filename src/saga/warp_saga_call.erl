%% @private Requests that concern one saga. They are carried out on the node that has the saga's shard, and made again
%% there when the shard moves while the caller waits: each can be made again.
-module(warp_saga_call).

-export([run/4, decide/4]).
-export([serve/4]).

-export_type([request/0]).

-type request() ::
    %% With the checked options of `warp_saga_options:commit/1'.
    {commit, warp_saga:saga(), map()}
    | status
    | join
    | cancel
    %% In which phase the saga is, and the seq of the last event in its log.
    | phase
    | {retry, warp_core:seq()}
    | {resolve, warp_core:seq(), Note :: binary()}.

%% The pause before a request to a keeper that ended is made again, and how often that is done.
-define(RETRIES, {20, 100}).
%% How long a read waits for the disk.
-define(READ_MS, 5000).

%% @doc Carries out a request for the saga with that id, which was checked, and gives its result by the deadline. Errors
%% are those of the functions of {@link warp_saga}.
-spec run(warp_context:context(), binary(), request(), warp_deadline:deadline()) -> term().
run(#{ref := Ref} = Context, Id, Request, Deadline) ->
    {ok, N} = warp_context:shard_of(Context, warp_saga_plan:entity_id(Id)),
    Call = {?MODULE, serve, [Ref, Id, Request, warp_deadline:left(Deadline)]},
    Local = fun() -> here(Request, Ref, Id, N, Deadline) end,
    case warp_cluster_call:run(Context, N, Call, {once, fun() -> Deadline end}, Local) of
        {error, {unknown_outcome, _}} = Lost ->
            case with_context(Ref, fun(Now) -> run(Now, Id, Request, Deadline) end) of
                %% It was sent before the node was lost.
                {error, {node_unavailable, _}} when Request =/= status, Request =/= phase, Request =/= join -> Lost;
                Result -> Result
            end;
        Result ->
            Result
    end.

%% @doc The same for another node, where the saga's shard is on this one.
-spec serve(warp_context:ref(), binary(), request(), timeout()) -> term().
serve(Ref, Id, Request, Wait) ->
    with_context(Ref, fun(Context) -> run(Context, Id, Request, warp_deadline:from(Wait)) end).

%% @doc Has a stuck saga retried or resolved, and gives its result.
%%
%% NOTE: the request says up to where the saga's log goes while it is stuck. So a request that is made again, since
%% nobody knows what became of it, is not carried out twice.
-spec decide(warp_context:context(), binary(), retry | {resolve, Note :: binary()}, warp_deadline:deadline()) ->
    {ok, warp_saga:result()} | {error, term()}.
decide(Context, Id, What, Deadline) ->
    case run(Context, Id, phase, warp_deadline:from(?READ_MS)) of
        {ok, {stuck, Seq}} ->
            case run(Context, Id, decision(What, Seq), Deadline) of
                {error, stuck_again} -> decide(Context, Id, What, Deadline);
                Result -> Result
            end;
        {ok, {Phase, _}} when Phase =:= forward; Phase =:= compensating ->
            {error, {not_stuck, running}};
        {ok, {Phase, _}} ->
            {error, {not_stuck, Phase}};
        {error, _} = Error ->
            Error
    end.

decision(retry, Seq) -> {retry, Seq};
decision({resolve, Note}, Seq) -> {resolve, Seq, Note}.

here({commit, Saga, Options}, Ref, Id, N, Deadline) ->
    with_context(Ref, fun(Context) ->
        case warp_saga_builder:build(Saga, Context, Options) of
            {ok, #{hash := Hash} = Plan, Packed} ->
                Planned = fun() -> {Plan, Packed} end,
                case ask(Ref, N, {commit, Id, Hash, Planned}, Deadline) of
                    known -> same(read(Ref, Id, Deadline), Plan);
                    Answer -> Answer
                end;
            {error, _} = Error ->
                Error
        end
    end);
here(status, Ref, Id, _N, Deadline) ->
    with_context(Ref, fun(Context) -> described(read(Ref, Id, Deadline), Context, Id) end);
here(phase, Ref, Id, _N, Deadline) ->
    case read(Ref, Id, Deadline) of
        {ok, #{core := Core, seq := Seq}} -> {ok, {warp_saga_core:phase(Core), Seq}};
        {error, _} = Error -> Error
    end;
here({retry, Seq}, Ref, Id, N, Deadline) ->
    result(ask(Ref, N, {retry, Id, Seq}, Deadline), Ref, Id, Deadline);
here({resolve, Seq, Note}, Ref, Id, N, Deadline) ->
    case result(ask(Ref, N, {resolve, Id, Seq, Note}, Deadline), Ref, Id, Deadline) of
        {ok, {stuck, #{note := Note}}} = Resolved -> Resolved;
        %% Somebody else has decided about it meanwhile.
        {ok, {stuck, #{note := _}}} -> {error, {not_stuck, resolved}};
        {ok, {stuck, _}} -> {error, stuck_again};
        {ok, {How, _}} -> {error, {not_stuck, How}};
        {error, _} = Error -> Error
    end;
here(Request, Ref, Id, N, Deadline) when Request =:= join; Request =:= cancel ->
    result(ask(Ref, N, {Request, Id}, Deadline), Ref, Id, Deadline).

with_context(Ref, Fun) ->
    case warp_context:find(Ref) of
        {ok, Context} -> Fun(Context);
        not_found -> {error, context_stopped}
    end.

%% The recorded result, if the recorded saga has the same steps.
same({ok, #{core := Core}}, #{id := Id, hash := Hash} = Plan) ->
    #{hash := Stored} = warp_saga_core:plan(Core),
    case warp_saga_hash:is_same(Stored, Hash, fun() -> Plan end) of
        true -> {ok, warp_saga_core:result(Core)};
        false -> {error, {saga_conflict, Id}}
    end;
same({error, _} = Error, _Plan) ->
    Error.

result(known, Ref, Id, Deadline) ->
    case read(Ref, Id, Deadline) of
        {ok, #{core := Core}} -> {ok, warp_saga_core:result(Core)};
        {error, _} = Error -> Error
    end;
result(Answer, _Ref, _Id, _Deadline) ->
    Answer.

described({ok, #{core := Core, started_at := Started, updated_at := Updated}}, Context, Id) ->
    State = shown(warp_saga_core:phase(Core), Context, Id),
    {ok, maps:merge((warp_saga_core:describe(Core))#{started_at => Started, updated_at => Updated}, State)};
described({error, _} = Error, _Context, _Id) ->
    Error.

shown(Phase, Context, Id) when Phase =:= forward; Phase =:= compensating ->
    case warp_saga_table:waiting(Context, Id) of
        {ok, Waiting} -> #{state => waiting, waiting => Waiting};
        none -> #{state => state(Phase)}
    end;
shown(Phase, _Context, _Id) ->
    #{state => Phase}.

state(forward) -> running;
state(Phase) -> Phase.

%% The caller gives up at the deadline when the disk does not answer.
read(Ref, Id, Deadline) ->
    with_context(Ref, fun(Context) ->
        Read = fun() -> warp_saga_log:read(Context, Id) end,
        case Deadline of
            infinity -> Read();
            _ -> warp_entity_call:aside(Read, Deadline)
        end
    end).

%% Asks the keeper of the saga's shard, and asks again when the keeper or the shard is being restarted. When the shard
%% is here no more, `{shard_unavailable, N}' has the request made elsewhere.
ask(Ref, N, Request, Deadline) ->
    IsRetried = fun(Answer) -> is_gone(Answer) andalso is_here(Ref, N) end,
    Try = fun() -> with_context(Ref, fun(Context) -> warp_saga_keeper:ask(Context, N, Request, Deadline) end) end,
    Answer = warp_retry:while(IsRetried, ?RETRIES, Deadline, Try),
    case is_gone(Answer) andalso not is_here(Ref, N) of
        true -> {error, {shard_unavailable, N}};
        false -> Answer
    end.

is_gone({error, interrupted}) -> true;
is_gone({error, {shard_unavailable, _}}) -> true;
is_gone(_Answer) -> false.

%% A context that was stopped is noticed when the request is made again.
is_here(Ref, N) ->
    case warp_context:find(Ref) of
        {ok, Context} -> warp_context_owners:is_here(Context, N);
        not_found -> true
    end.
