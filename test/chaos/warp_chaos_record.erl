%% What a worker of the load did, in a file of its own that outlives the VM: a call is written before it is made, and
%% its result when it is there. All VMs of a machine share the clock.
-module(warp_chaos_record).

-export([open/2, call/3, seen/2, read/1]).

-export_type([record/0, call/0]).

-opaque record() :: file:fd().
%% The worker, when the call began and ended, what was called, and the result.
-type call() :: {Worker :: string(), Began :: integer(), Ended :: integer() | never, Call :: tuple(), Result :: term()}.

-spec open(file:filename(), string()) -> record().
open(Dir, Worker) ->
    {ok, File} = file:open(filename:join(Dir, Worker), [raw, binary, append]),
    File.

%% Makes a call.
-spec call(record(), tuple(), fun(() -> Result)) -> Result.
call(Record, Call, Fun) ->
    ok = write(Record, {began, now_ns(), Call}),
    Result = Fun(),
    ok = write(Record, {ended, now_ns(), short(Call, Result)}),
    Result.

%% Notes something that a subscription was sent.
-spec seen(record(), term()) -> ok.
seen(Record, What) -> write(Record, {seen, now_ns(), What}).

%% All that was recorded in a folder: calls, and by watcher what it has seen, in order.
-spec read(file:filename()) -> {[call()], #{Watcher :: string() => [term()]}}.
read(Dir) ->
    {ok, Names} = file:list_dir(Dir),
    lists:foldl(
        fun(Name, {Calls, Seen}) ->
            {ok, Bytes} = file:read_file(filename:join(Dir, Name)),
            Terms = terms(Bytes),
            {calls(Name, Terms) ++ Calls, Seen#{Name => [What || {seen, _, What} <- Terms]}}
        end,
        {[], #{}}, lists:sort(Names)).

%% Of a history only which events it has counts.
short({history, _}, {ok, Events}) -> {ok, [Id || #{id := Id} <- Events]};
short(_Call, Result) -> Result.

write(File, Term) ->
    Bytes = term_to_binary(Term),
    file:write(File, [<<(byte_size(Bytes)):32>>, Bytes]).

%% What was being written when the VM was killed is left out.
terms(<<Size:32, Bytes:Size/binary, Rest/binary>>) -> [binary_to_term(Bytes) | terms(Rest)];
terms(_CutOff) -> [].

calls(Worker, [{began, Began, Call}, {ended, Ended, Result} | Terms]) ->
    [{Worker, Began, Ended, Call, Result} | calls(Worker, Terms)];
calls(Worker, [{began, Began, Call} | Terms]) ->
    [{Worker, Began, never, Call, unknown} | calls(Worker, Terms)];
calls(Worker, [_ | Terms]) ->
    calls(Worker, Terms);
calls(_Worker, []) ->
    [].

now_ns() -> os:perf_counter(nanosecond).
