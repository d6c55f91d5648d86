%% @private Who calls, and whether he may do what he asks for. Pure, but that it reads the settings of the server.
-module(warp_server_access).

-export([caller/2, scopes/1, context/2, permissions/3, check/3, may/4, about/1]).

-export_type([caller/0, may/0]).

%% Who calls, as the gateway has found out.
-type caller() :: #{
    server := warp_server_settings:id(),
    %% The id of the token, empty where a path needs none.
    token := binary(),
    %% Of a signed token.
    claims := none | warp_server_token:claims(),
    peer := binary()
}.
%% Whether somebody who waits, or is sent things for long, may do that still.
-type may() :: fun(() -> ok | {error, unauthorized | {forbidden, atom()}}).

%% @doc The caller of a request or of a socket.
-spec caller(warp_server_settings:id(), map()) -> {ok, caller()} | error.
caller(Server, #{<<"token">> := Token, <<"peer">> := Peer} = Request) when is_binary(Token), is_binary(Peer) ->
    Caller = #{server => Server, token => Token, claims => none, peer => Peer},
    case Request of
        #{<<"claims">> := Json} when is_binary(Json) ->
            case warp_server_token:claims(Json) of
                {ok, #{token := Token} = Claims} -> {ok, Caller#{claims := Claims}};
                _ -> error
            end;
        #{} ->
            {ok, Caller}
    end;
caller(_, _) ->
    error.

%% Whether the caller's token counts at a time.
is_valid(#{server := Server, token := Token, claims := Claims}, NowS) ->
    Own =
        case warp_server_settings:read(Server) of
            #{tokens := #{Token := #{expires := Expires}}} -> Expires;
            #{} -> 0
        end,
    %% NOTE: `none' is greater than every number.
    NowS < Own andalso case Claims of none -> true; #{expires := Ends} -> NowS < Ends end.

%% @doc What the caller may do: a permission has to be given by each of these lists. A signed token loses what the one
%% that made it has lost since.
-spec scopes(caller()) -> [[warp_server_scope:scope()], ...].
scopes(#{server := Server, token := Token, claims := Claims}) ->
    Own =
        case warp_server_settings:read(Server) of
            #{tokens := #{Token := #{scopes := Scopes}}} -> Scopes;
            #{} -> []
        end,
    case Claims of
        none -> [Own];
        #{scopes := Narrow} -> [Narrow, Own]
    end.

%% @doc The name of the context of a call, which need not say it where the caller may use only one.
-spec context(map(), caller()) -> {ok, binary()} | {error, term()}.
context(#{<<"context">> := Name}, _Caller) when is_binary(Name) ->
    {ok, Name};
context(#{<<"context">> := _}, _Caller) ->
    {error, {bad_option, <<"context">>, not_text}};
context(#{}, #{server := Server} = Caller) ->
    #{contexts := Contexts} = warp_server_settings:read(Server),
    [Scopes | _] = scopes(Caller),
    case warp_server_scope:only_context(maps:keys(Contexts), Scopes) of
        {ok, Name} -> {ok, Name};
        none -> {error, {bad_option, <<"context">>, missing}}
    end.

%% @doc The permissions that an operation needs.
-spec permissions(atom(), map(), Context :: binary()) -> [warp_server_scope:permission()].
permissions(Operation, Args, Context) ->
    [{Name, Context, Subject} || {Name, Subject} <- needs(Operation, Args)].

needs(append, #{entity := Id, event := Event}) -> [{append, {entity, Id, aggregates([Event])}}];
needs(append_batch, #{entity := Id, events := Events}) -> [{append, {entity, Id, aggregates(Events)}}];
needs(get, #{entity := Id, aggregate := Name}) -> [{read, {entity, Id, [Name]}}];
needs(history, #{entity := Id}) -> [{read, {entity, Id, all}}];
needs(wait, #{entity := Id}) -> [{read, {entity, Id, none}}];
needs(Operation, #{entity := Id}) when Operation =:= export; Operation =:= delete; Operation =:= command ->
    [{Operation, {entity, Id, all}}];
needs(entities, Args) -> [{list, {prefix, maps:get(prefix, Args, <<>>), named(aggregate, Args)}}];
needs(events, _) -> [{list, whole}];
needs(query, _) -> [{query, whole}];
needs(stats, _) -> [{stats, whole}];
needs(saga, #{steps := Steps}) -> steps(Steps);
needs(Operation, _) when Operation =:= saga_status; Operation =:= saga_retry; Operation =:= saga_resolve;
                         Operation =:= saga_cancel; Operation =:= sagas -> [{saga, whole}];
%% NOTE: whoever uses a name moves its place for all others who use it.
needs(subscribe, #{name := _}) -> [{subscribe, whole}];
needs(entity_stream, #{entity := Id}) -> [{subscribe, {entity, Id, all}}];
needs(shard_stream, _) -> [{list, whole}];
needs(subscribe, #{entity := Id} = Args) -> [{subscribe, {entity, Id, maps:get(aggregates, Args, all)}}];
needs(subscribe, Args) -> [{subscribe, {prefix, maps:get(prefix, Args, <<>>), maps:get(aggregates, Args, all)}}];
needs(Operation, _) when Operation =:= parked; Operation =:= retry; Operation =:= skip; Operation =:= forget;
                         Operation =:= consume; Operation =:= acknowledge ->
    [{subscribe, whole}].

%% An event that names no aggregate is one of the context's only aggregate, which a scope may leave out.
aggregates(Events) when is_list(Events) ->
    Names = [Name || #{<<"aggregate">> := Name} <- Events],
    case length(Names) =:= length(Events) of
        true -> Names;
        false -> all
    end;
aggregates(_) ->
    all.

named(Key, Args) ->
    case Args of
        #{Key := Name} -> [Name];
        #{} -> all
    end.

steps([_ | _] = Steps) ->
    Each = lists:append([case Step of _ when is_list(Step) -> Step; _ -> [Step] end || Step <- Steps]),
    [case Step of
         #{<<"entity">> := Id, <<"aggregate">> := Name} when is_binary(Id), is_binary(Name) ->
             {saga, {entity, Id, [Name]}};
         _ ->
             {saga, whole}
     end || Step <- Each];
steps(_) ->
    [{saga, whole}].

%% @doc Whether the caller has all permissions. What is refused is in the audit log.
-spec check(Operation :: atom(), [warp_server_scope:permission()], caller()) -> ok | {error, {forbidden, atom()}}.
check(Operation, Permissions, Caller) ->
    Scopes = scopes(Caller),
    case [Permission || Permission <- Permissions,
                        not lists:all(fun(List) -> warp_server_scope:allows(List, Permission) end, Scopes)] of
        [] ->
            ok;
        [{_, Context, Subject} | _] ->
            ok = warp_server_log:audit(refused, (about(Caller))#{operation => Operation, context => Context,
                                                                 entity => entity(Subject)}),
            {error, {forbidden, Operation}}
    end.

%% @doc Whether the caller may do an operation, whenever that is asked: its token may end, and its scopes may change.
-spec may(Operation :: atom(), map(), Context :: binary(), caller()) -> may().
may(Operation, Args, Context, Caller) ->
    Permissions = permissions(Operation, Args, Context),
    fun() ->
        case is_valid(Caller, os:system_time(second)) of
            true -> check(Operation, Permissions, Caller);
            false -> {error, unauthorized}
        end
    end.

entity({entity, Id, _}) -> Id;
entity(_) -> none.

%% @doc The caller for the audit log.
-spec about(caller()) -> map().
about(Caller) -> maps:with([token, peer], Caller).
