%% @private Warns of what the log has and the context's aggregates do not fit: aggregates that the context was started
%% without, and events that an aggregate cannot fold any more.
-module(warp_entity_names).

-export([warn_of_others/1, warn_of_failures/2]).

-include_lib("kernel/include/logger.hrl").

%% How many names one warning has at most.
-define(MAX_NAMES, 20).

%% @doc Warns of stored aggregates that the context was started without, with how many entities have events of them, in
%% a process of its own: counting takes long where there are many.
-spec warn_of_others(warp_context:context()) -> ok.
warn_of_others(Context) ->
    _ = spawn(fun() -> look(Context) end),
    ok.

look(#{name := Context, aggregates := Aggregates, aliases := Aliases, shards := Shards} = Found) ->
    Known = maps:keys(Aggregates) ++ maps:keys(Aliases),
    Count = fun(N, Counts) -> maps:merge_with(fun(_, A, B) -> A + B end, Counts, others(Found, N, Known)) end,
    case lists:sort(maps:to_list(lists:foldl(Count, #{}, lists:seq(0, Shards - 1)))) of
        [] ->
            ok;
        Others ->
            Named = [warp_text:format("~ts (~b ~ts)", [Name, N, entities(N)])
                     || {Name, N} <- lists:sublist(Others, ?MAX_NAMES)],
            More = ["..." || length(Others) > ?MAX_NAMES],
            ?LOG_WARNING("Warp: context ~ts has stored events of aggregates that it was started without: ~ts. Nobody "
                         "sees their states. If an aggregate was renamed, name the old one in `aliases' of the new "
                         "one. If its states are not needed any more, start the context with the aggregate, without "
                         "`apply', or leave it as it is.",
                         [Context, lists:join(", ", Named ++ More)])
    end.

entities(1) -> "entity";
entities(_) -> "entities".

%% A shard that is not open now says nothing.
others(Context, N, Known) ->
    case warp_context:with_shard(Context, N, fun(Handle) -> warp_nif:other_aggregates(Handle, Known) end) of
        {ok, Others} -> maps:from_list(Others);
        {error, _} -> #{}
    end.

%% @doc Warns of aggregates whose events could not be folded when an entity was read: once for each aggregate as long as
%% the context runs, and without the entity's data.
-spec warn_of_failures(warp_context:context(), warp_aggregate:states()) -> ok.
warn_of_failures(#{name := Context} = Found, States) ->
    maps:foreach(
        fun
            (Name, {error, Reason}) when element(1, Reason) =/= stale_function ->
                Key = {warned_of, Name},
                case warp_context:registered(Found, Key) of
                    none ->
                        ok = warp_context:register(Found, Key, true),
                        ?LOG_WARNING("Warp: stored events of aggregate ~ts of context ~ts cannot be folded any more: "
                                     "~ts. Its state cannot be read where there are such events, and nothing is "
                                     "appended to it there. Have `migrate', or the codec, take events of earlier "
                                     "versions. This is said once for each aggregate.",
                                     [Name, Context, warp_redact:reason(Reason)]);
                    {ok, _} ->
                        ok
                end;
            (_Name, _State) ->
                ok
        end,
        States).
