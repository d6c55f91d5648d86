%% @private The sagas that the file of a shard has open, read when the shard was opened. One that cannot be
%% read is named in the log of the system, and stays as it is.
-module(warp_saga_open).

-export([read/3]).

-include_lib("kernel/include/logger.hrl").

%% @doc The open sagas of a shard, as their logs have them; and the ids of all that are open, with those
%% that cannot be read.
-spec read(warp_context:context(), non_neg_integer(), warp_nif:shard()) ->
    {ok, [{Id :: binary(), warp_saga_log:saga()}], Ids :: [binary()]} | {error, warp_nif:reason()}.
read(#{name := Name}, N, Handle) ->
    {Prefix, _, _} = warp_saga_plan:kind(),
    case warp_nif:open_entities(Handle, Prefix) of
        {ok, {Entities, Broken}} ->
            _ = [?LOG_ERROR("Warp: a saga of shard ~b of context ~ts is open, but cannot be read: ~ts",
                            [N, Name, What]) || What <- Broken],
            Ids = [warp_saga_plan:id(Entity) || Entity <- Entities],
            {ok, lists:append([saga(Id, Name, Handle) || Id <- Ids]), Ids};
        {error, _} = Error ->
            Error
    end.

saga(Id, Name, Handle) ->
    case warp_saga_log:read_shard(Handle, Id) of
        {ok, Saga} ->
            [{Id, Saga}];
        {error, Reason} ->
            ?LOG_ERROR("Warp: saga ~ts of context ~ts is open, but cannot be read: ~tp", [Id, Name, Reason]),
            []
    end.
