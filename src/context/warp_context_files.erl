%% @private Checks, before a context starts, whether it can open as many files as it needs.
-module(warp_context_files).

-export([enough/2]).

%% The shard's file, the sums of its pages, its write-ahead log, the index of that log, and a file that SQLite keeps
%% open for the next reader; and the writer's own connection for looking things up, with two files.
-define(OF_A_SHARD, 7).
%% The NIF keeps 64 read connections for all shards of a VM, with two files each.
-define(OF_READERS, 128).
%% The lock, and segments of the journal.
-define(OF_A_CONTEXT, 20).

%% @doc Whether a context with these settings can be opened, given the VM's limit of open files and
%% how many files it has open. `needed' in the error is the limit that would be enough.
-spec enough(warp_context_options:settings(),
             {Limit :: non_neg_integer() | infinity, non_neg_integer()} | {error, term()}) ->
    ok | {error, {too_few_files, #{limit := non_neg_integer(), needed := pos_integer()}} | term()}.
enough(_Settings, {error, _} = Error) ->
    Error;
enough(#{shards := Shards} = Settings, {Limit, Open}) ->
    Needed = Open + ?OF_A_CONTEXT + ?OF_A_SHARD * Shards + ?OF_READERS + warp_component:files(Settings),
    case Needed =< Limit of
        true -> ok;
        false -> {error, {too_few_files, #{limit => Limit, needed => Needed}}}
    end.
