%% @private Appends whose callers do not wait for the answer yet: makes requests, takes their answers, and keeps
%% collections of requests, with the names and the meaning of `gen_server:send_request'.
%%
%% An answer comes as a message to an alias, which closes with it. So a request that was given up never gets one.
%% Every request gets an answer: one that cannot be made has it at once, and {@link warp_requests} answers those of a
%% process that was killed. So nothing here needs a monitor or a timer for each request.
-module(warp_entity_request).

-export([send/3, forward/4, result/2]).
-export([receive_response/2, receive_response/3, wait_response/2, wait_response/3]).
-export([check_response/2, check_response/3]).
-export([new/0, add/3, size/1, to_list/1]).

-export_type([request_id/0, collection/0, kind/0, response_timeout/0]).

-include("../base/warp_entity.hrl").

%% Whether one event was appended or a batch, which have different answers; or whether another node answers with the
%% response.
-type kind() :: one | batch | forwarded.
-record(request, {
    alias :: warp_call:alias(),
    kind :: kind(),
    ref :: warp_context:ref() | none,
    %% Packed events so large that their memory is freed when the append was refused.
    pack :: warp_entity_pack:packed() | none
}).
-opaque request_id() :: #request{}.
-record(requests, {by_alias = #{} :: #{warp_call:alias() => {#request{}, Label :: term()}}}).
-opaque collection() :: #requests{}.
%% A point in time is in milliseconds of the VM's monotonic time.
-type response_timeout() :: timeout() | {abs, integer()}.
-type response() :: {ok, warp_core:seq() | {warp_core:seq(), warp_core:seq()}} | {error, warp_core:write_error()}.
-type wrong() :: {error, {bad_option, request | timeout | delete, term()}}.

%% The pause before the next look at a process that is leaving memory.
-define(LEAVING_MS, 1).
%% The pause before a process is started again that has left memory at once, and how often that is done.
-define(RESTARTS, {1, 20}).

%% @doc Sends an append to the process of an entity. Whatever goes wrong is the response to the request. Waits only
%% while the process is being started or is leaving memory, until the deadline at most.
-spec send(kind(), term(), {ok, warp_entity_core:request(), warp_entity_pack:packed(), warp_deadline:deadline()}
           | {error, term()}) -> request_id().
send(Kind, #warp_entity{ref = Ref} = Entity, {ok, Request, Pack, Deadline}) ->
    #request{alias = attempt(Entity, Request, Pack, Deadline), kind = Kind, ref = Ref, pack = kept(Pack)};
send(Kind, _Entity, {error, _} = Error) ->
    #request{alias = refused(Error), kind = Kind, ref = none, pack = none}.

kept(Pack) ->
    case warp_entity_pack:is_large(Pack) of
        true -> Pack#{events := none};
        false -> none
    end.

%% @doc Has another node make a request, and answer with the response to it; or gives the request an error for a
%% response.
-spec forward(warp_context:ref(), {ok, pid()} | {error, term()}, warp_cluster_call:call(), warp_deadline:deadline()) ->
    request_id().
forward(Ref, {ok, Server}, Call, Deadline) ->
    case warp_cluster_call:request(Server, Call, Deadline) of
        {ok, Alias} -> #request{alias = Alias, kind = forwarded, ref = Ref, pack = none};
        {error, _} = Error -> #request{alias = refused(Error), kind = forwarded, ref = none, pack = none}
    end;
forward(_Ref, {error, _} = Error, _Call, _Deadline) ->
    #request{alias = refused(Error), kind = forwarded, ref = none, pack = none}.

%% A request that has its response already.
refused(Error) ->
    Alias = warp_call:alias(),
    ok = warp_call:answer(Alias, Error),
    Alias.

attempt(Entity, Request, #{bytes := Bytes} = Pack, Deadline) ->
    case reach(Entity, Bytes, Deadline) of
        {ok, Pid, Pending} ->
            Alias = warp_call:alias(),
            ok = warp_requests:expect(Alias, Pid),
            ok = gen_server:cast(Pid, {warp_append, warp_call:from(Alias), Request}),
            case arrived(Pid, Pending, Deadline) of
                yes -> Alias;
                no -> failed(Alias, {error, interrupted});
                timeout -> failed(Alias, {error, timeout});
                again ->
                    %% NOTE: the process may have answered before it ended, and the alias is closed then.
                    ok = warp_requests:forget(Alias),
                    case erlang:unalias(Alias) of
                        true -> attempt(Entity, Request, Pack, Deadline);
                        false -> Alias
                    end
            end;
        {error, _} = Error ->
            ok = warp_entity_pack:release(Pack),
            refused(Error)
    end.

%% A process that leaves memory as soon as it is started looks like a shard that cannot be used. Where the shard is
%% open the process is started again, and otherwise the caller does not wait.
reach(Entity, Bytes, Deadline) ->
    case warp_entity_call:reach(Entity, Bytes, Deadline) of
        {error, {shard_unavailable, _}} = Left ->
            IsRetried = fun(Result) -> Result =:= Left andalso is_open(Entity) end,
            warp_retry:while(IsRetried, ?RESTARTS, Deadline,
                             fun() -> warp_entity_call:reach(Entity, Bytes, Deadline) end);
        Reached ->
            Reached
    end.

is_open(#warp_entity{ref = Ref, shard = N}) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            warp_context_owners:is_here(Context, N) andalso element(1, warp_context:shard(Context, N)) =:= ok;
        not_found -> false
    end.

%% An answer that the process has given counts, and this one is dropped.
failed(Alias, Error) ->
    ok = warp_requests:forget(Alias),
    ok = warp_call:answer(Alias, Error),
    Alias.

%% Whether the process takes the request that was sent: `no' when it was killed, `again' when it has left memory.
%% Requests of one caller are taken in order, since the next one is not made before this is known.
%%
%% NOTE: as in `warp_entity_call:ask/4', a process whose counters are not closed after the message was sent takes the
%% message. And a process that is alive after it was watched cannot end without an answer to this request.
arrived(Pid, Pending, Deadline) ->
    case warp_entity_pending:is_closed(Pending) of
        false ->
            ok = watched(Pid, Pending),
            case is_process_alive(Pid) of
                true -> yes;
                false -> no
            end;
        true when Pid =:= self() ->
            yes;
        true ->
            await_leaving(Pid, Pending, Deadline)
    end.

%% NOTE: the request to watch comes before the note of it, so that whoever reads the note can rely on it.
watched(Pid, Pending) ->
    Number = warp_requests:number(),
    case warp_entity_pending:is_watched_by(Pending, Number) of
        true ->
            ok;
        false ->
            ok = warp_requests:watch(Pid),
            warp_entity_pending:watched_by(Pending, Number)
    end.

%% A process that has closed its counters ends soon, or finds the request and stays.
await_leaving(Pid, Pending, Deadline) ->
    Monitor = erlang:monitor(process, Pid),
    Left =
        receive
            {'DOWN', Monitor, process, Pid, _} -> again
        after ?LEAVING_MS ->
            warp_deadline:left(Deadline)
        end,
    true = erlang:demonitor(Monitor, [flush]),
    case Left of
        again -> again;
        0 -> timeout;
        _ -> arrived(Pid, Pending, Deadline)
    end.

%% @doc What an append gives its caller for the answer of the entity's process.
-spec result(kind(), term()) -> response().
result(one, {stored, Seq, Seq}) -> {ok, Seq};
result(one, {stored_at, [Seq]}) -> {ok, Seq};
result(batch, {stored, First, Last}) -> {ok, {First, Last}};
result(batch, {stored_at, [First | _] = Seqs}) -> {ok, {First, lists:last(Seqs)}};
result(forwarded, {response, Response}) -> Response;
result(_Kind, {error, _} = Error) -> Error.

response({error, interrupted} = Error, #request{ref = Ref} = Request) when Ref =/= none ->
    ok = release(Request),
    {error, _} = stopped_or(Error, Ref);
response({error, _} = Error, Request) ->
    ok = release(Request),
    Error;
response(Answer, #request{kind = Kind}) ->
    result(Kind, Answer).

stopped_or({error, Reason}, Ref) -> warp_entity_call:stopped_or(Ref, Reason).

release(#request{pack = none}) -> ok;
release(#request{pack = Pack}) -> warp_entity_pack:release(Pack).

%% @doc Waits for the response to a request, and gives the request up when it has not come in time.
-spec receive_response(request_id(), response_timeout()) -> response() | timeout | wrong().
receive_response(#request{alias = Alias} = Request, Timeout) ->
    case wait_response(Request, Timeout) of
        timeout ->
            ok = abandon(#{Alias => Request}),
            timeout;
        Response ->
            Response
    end;
receive_response(_NotARequest, _Timeout) ->
    not_a_request().

%% @doc Waits for the next response to a request of a collection, and gives all of them up when none has come in time.
-spec receive_response(collection(), response_timeout(), boolean()) ->
    {response(), Label :: term(), collection()} | no_request | timeout | wrong().
receive_response(Requests, Timeout, Delete) ->
    case wait_response(Requests, Timeout, Delete) of
        timeout ->
            ok = abandon(Requests#requests.by_alias),
            timeout;
        Response ->
            Response
    end.

abandon(Requests) ->
    ok = warp_requests:forget_all(Requests),
    warp_call:give_up(Requests).

%% @doc Waits for the response to a request, which can still be received after `timeout'.
-spec wait_response(request_id(), response_timeout()) -> response() | timeout | wrong().
wait_response(#request{alias = Alias} = Request, Timeout) ->
    case wait(#{Alias => Request}, Timeout) of
        {Alias, Answer} -> response(Answer, Request);
        Other -> Other
    end;
wait_response(_NotARequest, _Timeout) ->
    not_a_request().

%% @doc Waits for the next response to a request of a collection. All can still be received after `timeout'.
-spec wait_response(collection(), response_timeout(), boolean()) ->
    {response(), Label :: term(), collection()} | no_request | timeout | wrong().
wait_response(#requests{by_alias = Requests}, _Timeout, Delete) when is_boolean(Delete), map_size(Requests) =:= 0 ->
    no_request;
wait_response(#requests{by_alias = Requests}, Timeout, Delete) when is_boolean(Delete) ->
    case wait(Requests, Timeout) of
        {Alias, Answer} when is_reference(Alias) -> of_collection(Alias, Answer, Requests, Delete);
        Other -> Other
    end;
wait_response(Requests, _Timeout, _Delete) ->
    wrong(Requests).

wait(Requests, Timeout) ->
    case left(Timeout) of
        {ok, Left} ->
            case warp_call:await_any(Requests, Left) of
                {Alias, _Answer} = Answered ->
                    ok = warp_requests:forget(Alias),
                    Answered;
                none ->
                    timeout
            end;
        {error, _} = Error ->
            Error
    end.

left({abs, Time}) when is_integer(Time) -> {ok, warp_deadline:left(Time)};
left(Timeout) -> warp_check:one(timeout, Timeout, fun warp_check:timeout/1).

%% @doc The response to a request, if the message is that.
-spec check_response(Message :: term(), request_id()) -> response() | no_reply | wrong().
check_response(Message, #request{alias = Alias} = Request) ->
    case warp_call:answered(Message) of
        {Alias, Answer} ->
            ok = warp_requests:forget(Alias),
            response(Answer, Request);
        _ ->
            no_reply
    end;
check_response(_Message, _NotARequest) ->
    not_a_request().

%% @doc The response to a request of a collection, if the message is that.
-spec check_response(Message :: term(), collection(), boolean()) ->
    {response(), Label :: term(), collection()} | no_request | no_reply | wrong().
check_response(_Message, #requests{by_alias = Requests}, Delete) when is_boolean(Delete), map_size(Requests) =:= 0 ->
    no_request;
check_response(Message, #requests{by_alias = Requests}, Delete) when is_boolean(Delete) ->
    case warp_call:answered(Message) of
        {Alias, Answer} when is_map_key(Alias, Requests) ->
            ok = warp_requests:forget(Alias),
            of_collection(Alias, Answer, Requests, Delete);
        _ ->
            no_reply
    end;
check_response(_Message, Requests, _Delete) ->
    wrong(Requests).

of_collection(Alias, Answer, Requests, Delete) ->
    #{Alias := {Request, Label}} = Requests,
    Left = case Delete of true -> maps:remove(Alias, Requests); false -> Requests end,
    {response(Answer, Request), Label, #requests{by_alias = Left}}.

wrong(#requests{}) -> {error, {bad_option, delete, {not_one_of, [true, false]}}};
wrong(_NotACollection) -> not_a_request().

not_a_request() ->
    {error, {bad_option, request, not_a_request}}.

%% @doc A collection without requests.
-spec new() -> collection().
new() ->
    #requests{}.

%% @doc Adds a request to a collection. Fails with `badarg' if the collection has it already.
-spec add(request_id(), Label :: term(), collection()) -> collection().
add(#request{alias = Alias} = Request, Label, #requests{by_alias = Requests}) when not is_map_key(Alias, Requests) ->
    #requests{by_alias = Requests#{Alias => {Request, Label}}};
add(_Request, _Label, _Requests) ->
    error(badarg).

%% @doc How many requests a collection has.
-spec size(collection()) -> non_neg_integer().
size(#requests{by_alias = Requests}) -> map_size(Requests);
size(_NotACollection) -> error(badarg).

%% @doc The requests of a collection with their labels.
-spec to_list(collection()) -> [{request_id(), Label :: term()}].
to_list(#requests{by_alias = Requests}) -> maps:values(Requests);
to_list(_NotACollection) -> error(badarg).
