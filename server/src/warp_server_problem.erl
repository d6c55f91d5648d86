%% @private Reasons of errors as HTTP has them: a status, and problem details (RFC 9457). Pure.
%%
%% The code of a problem is the name of the reason in {@link warp_error:catalogue/0}, or of one that only the server
%% has.
-module(warp_server_problem).

-export([object/1, json/1, status/1, status/2, headers/1, is_internal/1]).

-export_type([problem/0]).

-type problem() :: #{type := binary(), title := binary(), status := 400..599, detail := binary(), advice := binary(),
                     code := atom(), retryable := boolean(), parameters := map()}.

%% How many bytes of a value are shown.
-define(MAX_BYTES, 1024).

%% @doc The status of a problem, and its details as JSON.
-spec json(Reason :: term()) -> {400..599, binary()}.
json(Reason) ->
    #{status := Status} = Object = object(Reason),
    {ok, Json} = warp_json:encode(Object, 1 bsl 30),
    {Status, Json}.

%% @doc The details of a problem.
-spec object(Reason :: term()) -> problem().
object(Reason) ->
    case own(Reason) of
        {Code, Detail, Advice, Parameters} ->
            problem(Code, Detail, Advice, Parameters);
        none ->
            case warp_error:describe(Reason) of
                {ok, #{reason := Code, meaning := Meaning, to_do := ToDo, values := Values}} ->
                    case is_internal(Code) of
                        %% What is the server's own fault may show its files, or what the state of an entity is.
                        true -> problem(Code, <<"The server failed to do that.">>, <<"Its log says why.">>, #{});
                        false -> problem(Code, Meaning, ToDo, parameters(Values))
                    end;
                unknown ->
                    own_refusal(Reason)
            end
    end.

%% A reason that no catalogue has: one of the context's own functions.
own_refusal(Reason) ->
    object({rejected, Reason}).

problem(Code, Detail, Advice, Parameters) ->
    #{type => <<"urn:warp:problem:", (atom_to_binary(Code))/binary>>, title => title(Code), status => status(Code),
      detail => Detail, advice => Advice, code => Code, retryable => is_retryable(Code), parameters => Parameters}.

title(Code) ->
    [First | Rest] = string:replace(atom_to_list(Code), "_", " ", all),
    unicode:characters_to_binary([string:titlecase(First) | Rest]).

parameters(Values) ->
    maps:fold(fun(Name, Value, Shown) -> Shown#{snake(Name) => value(Value)} end, #{}, Values).

snake(Name) ->
    string:lowercase(re:replace(Name, "(?<=[a-z])(?=[A-Z])", "_", [global, {return, binary}])).

%% A value as JSON, tuples as lists. One that is long is shown as Erlang prints it.
value(Value) ->
    Plain = warp_server_json:plain(Value),
    case warp_json:encode(Plain, ?MAX_BYTES) of
        {ok, Json} when byte_size(Json) =< ?MAX_BYTES -> Plain;
        _ -> unicode:characters_to_binary(io_lib:format("~0tP", [Value, 12], [{chars_limit, ?MAX_BYTES}]))
    end.

%% @doc Whether a reason is a fault of the server or of its context's functions, of which a client sees no details.
-spec is_internal(Code :: atom()) -> boolean().
is_internal(Code) -> status(Code) =:= 500.

%% ---------------------------------------------------------------------------------- Reasons of the server alone

own(unauthorized) ->
    {unauthorized, <<"The token is missing, unknown or expired.">>, <<"Send a token: Authorization: Bearer TOKEN.">>,
     #{}};
own({forbidden, Operation}) ->
    {forbidden, <<"The token may not do that.">>, <<"Use a token with a scope for it.">>, #{operation => Operation}};
own(scopes_too_wide) ->
    {forbidden, <<"The new token would have more permissions than the one that makes it.">>,
     <<"Ask for scopes that lie within those of this token.">>, #{}};
own(no_path) ->
    {not_found, <<"There is nothing at this path.">>, <<"GET /v1/openapi.json lists the paths.">>, #{}};
own({method_not_allowed, Methods}) ->
    {method_not_allowed, <<"The path does not have this method.">>, <<"Use one of those that it has.">>,
     #{allowed => Methods}};
own({unknown_field, Name}) ->
    {unknown_field, <<"There is no member or parameter ", Name/binary, " here.">>,
     <<"Correct its name, or leave it out.">>,
     #{name => Name}};
own({bad_request, Detail}) ->
    {bad_request, Detail, <<"Correct the request.">>, #{}};
own(unknown_operation) ->
    {bad_request, <<"There is no such operation.">>, <<"Correct the member op.">>, #{}};
own({too_many_subscriptions, Max}) ->
    {too_many_requests, <<"The token has as many subscriptions as it may have.">>, <<"End others first.">>,
     #{subscriptions => Max}};
own({unknown_context, Name}) ->
    {unknown_context, <<"The server has no context of that name.">>, <<"Correct the name.">>, #{context => Name}};
own({unknown_command, Name}) ->
    {unknown_command, <<"The context has no command of that name.">>, <<"Correct the name.">>, #{command => Name}};
own({refused, Refusal}) ->
    Shown = value(Refusal),
    Said = case Shown of
        Text when is_binary(Text) -> [<<": ">>, Text];
        _ -> <<".">>
    end,
    {rejected, iolist_to_binary([<<"The command refused">>, Said]), <<"Decide what that means to you.">>,
     #{refusal => Shown}};
own({no_shard, N}) ->
    {not_found, <<"The context has no shard of that number.">>, <<"Its shards have numbers from 0 on.">>,
     #{shard => N}};
own(offset_gone) ->
    {gone, <<"The offset is of events that are not there any more.">>,
     <<"Begin anew, without an offset: what was read so far was deleted.">>, #{}};
own(not_held) ->
    {not_held, <<"The client of this id has the name no more: it left, acknowledged nothing for too long, or has "
                 "acknowledged everything.">>,
     <<"Ask for events again: those that were not acknowledged come again.">>, #{}};
own(state_not_json) ->
    {state_not_json, <<"The state has no form in JSON.">>, <<"Give the context a view of this aggregate.">>, #{}};
%% Who may delete need not know where backups are kept.
own({still_to_erase, #{target := backup}}) ->
    {still_to_erase, <<"The entity is gone from the context, but a backup may still have something of it that can be "
                       "restored.">>,
     <<"The server goes on trying by itself. Delete again to wait again.">>, #{}};
own(internal) ->
    {internal, <<"The server failed to do that.">>, <<"Its log says why.">>, #{}};
own(_) ->
    none.

%% ------------------------------------------------------------------------------------------------- Statuses

%% @doc The HTTP status of a code.
-spec status(Code :: atom()) -> 400..599.
status(Code) ->
    [Status] = [Each || {Each, Codes} <- by_status(), lists:member(Code, Codes)],
    Status.

%% @doc The HTTP status of a code that an operation gives: an aggregate in a path is a place that does not exist.
-spec status(Operation :: atom(), Code :: atom()) -> 400..599.
status(get, unknown_aggregate) -> 404;
status(_, Code) -> status(Code).

%% @doc The headers that go with a status.
-spec headers(400..599) -> [{binary(), binary()}].
headers(401) -> [{<<"www-authenticate">>, <<"Bearer">>}];
headers(Status) when Status =:= 429; Status =:= 503 -> [{<<"retry-after">>, <<"1">>}];
headers(_) -> [].

by_status() ->
    [{400, [bad_json, number_too_large, bad_request, unknown_field, bad_entity_id, bad_event, unknown_aggregate,
            duplicate_event_id, reserved_id, empty_batch, batch_too_large, batch_too_large_bytes,
            import_too_large, import_too_large_bytes, missing_option,
            unknown_option, bad_option, bad_saga_id, bad_saga, empty_saga, too_many_steps, bad_step, bad_note,
            bad_cursor, bad_param, bad_params, bad_command, read_only, sql_error, too_many_rows, result_too_large,
            query_too_large, no_projections]},
     {401, [unauthorized]},
     {403, [forbidden, wrong_origin]},
     {404, [not_found, unknown_context, unknown_command, no_event, unknown_subscription, not_waiting, not_set_aside]},
     {405, [method_not_allowed]},
     {408, [request_timeout]},
     {409, [wrong_expected_seq, id_conflict, saga_conflict, not_stuck, others_say, in_use, already_running, not_running,
            already_started, node_up, last_member, not_clustered, not_in_doubt, in_doubt, not_a_member, forgotten,
            set_aside, rebuild_due, saga_waits, cancelled, entity_deleted, entity_not_empty, not_held]},
     {410, [gone]},
     {413, [body_too_large]},
     {415, [unsupported_media_type]},
     {421, [wrong_host]},
     {422, [rejected, command_failed]},
     {429, [too_many_requests]},
     {431, [headers_too_large]},
     {500, [internal, io_error, corrupt, state_not_json, validate_failed, apply_failed, migrate_failed, decide_failed,
            until_failed, bad_return, stale_function, unknown_step, step_not_exported, step_arity, shortened,
            %% Of starting a context and of backups, which no client does.
            no_backup, no_keys, not_started, running, target_in_use, wrong_master_key, no_master_key,
            master_key_refused, other_backup, forked, no_such_cut, not_empty, other_restore, backup_damaged,
            key_unknown, merged_meanwhile, unreachable, storage_refused, no_store_program,
            data_dir_in_use, too_few_files, nif_not_loaded, shard_count_mismatch, not_a_shard, not_a_projection,
            was_projected, wrong_identity, newer_format, target_refused, no_certificate_in, cannot_read,
            no_certificates_of_this_system, application_not_started, folder_of_cluster, folder_of_node,
            folder_not_empty, cluster_refused]},
     {503, [overloaded, shard_unavailable, node_unavailable, context_stopped, interrupted, target_away, stalled,
            still_to_erase, behind, subscription_ended]},
     {504, [timeout, unknown_outcome]},
     {507, [disk_full]}].

%% Whether the same call, made again, may work.
is_retryable(Code) ->
    lists:member(Code, [overloaded, too_many_requests, timeout, interrupted, unknown_outcome, shard_unavailable,
                        node_unavailable, context_stopped, disk_full, still_to_erase, target_away, stalled, behind,
                        subscription_ended, request_timeout]).
