%% @private How many files a context needs to have open.
-module(warp_context_files).

-export([enough/2]).

%% A shard's file, its write-ahead log and what SQLite keeps beside it; and one that SQLite keeps
%% open for the next reader.
-define(OF_A_SHARD, 4).
%% Those of the 64 read connections that the NIF keeps for all shards of a VM, two files each.
-define(OF_READERS, 128).
%% The lock; the projection's file and the notes of deletions, with readers of both.
-define(OF_A_CONTEXT, 1).
-define(OF_A_PROJECTION, 16).

%% @doc Whether a context with these settings can be opened, given the limit of this process and
%% how many files it has open. `needed' is the limit that would be enough.
-spec enough(warp_context_options:settings(),
             {Limit :: non_neg_integer() | infinity, non_neg_integer()} | {error, term()}) ->
    ok | {error, {too_few_files, #{limit := non_neg_integer(), needed := pos_integer()}} | term()}.
enough(_Settings, {error, _} = Error) ->
    Error;
enough(#{shards := Shards, projections := Projections}, {Limit, Open}) ->
    Projecting = case Projections of none -> 0; _ -> ?OF_A_PROJECTION end,
    Needed = Open + ?OF_A_CONTEXT + ?OF_A_SHARD * Shards + ?OF_READERS + Projecting,
    case Needed =< Limit of
        true -> ok;
        false -> {error, {too_few_files, #{limit => Limit, needed => Needed}}}
    end.
