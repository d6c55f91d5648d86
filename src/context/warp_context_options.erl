%% @private Options, checked before anything is done with them.
-module(warp_context_options).

-export([start/1, call/1, decide/1, read/1, export/1, correction/2, history/1, saga/1]).

-export_type([settings/0, error/0]).

-type settings() :: #{
    context := binary(),
    data_dir := binary(),
    aggregates := #{binary() => warp_aggregate:aggregate()},
    steps := #{binary() => fun()},
    shards := pos_integer(),
    mode := actor | read_through,
    durability := full | normal,
    file_access := owner | umask,
    cluster := single_node,
    projections := warp_projection_options:settings(),
    snapshot_every := pos_integer(),
    idle_timeout := timeout(),
    max_pending := pos_integer()
}.
-type error() ::
    {missing_option, atom()} | {unknown_option, term()} | {bad_option, atom(), term()}.

-define(MAX_SHARDS, 4096).
-define(MAX_PENDING, 1000000).
-define(MAX_NAME_BYTES, 200).
-define(MAX_AGGREGATE_BYTES, 512).
-define(CALL_TIMEOUT_MS, 5000).
-define(READ_TIMEOUT_MS, 5000).
-define(HISTORY_LIMIT, 1000).
-define(SAGA_RETRIES, 10).
-define(MAX_SAGA_RETRIES, 1000000).

%% @doc The settings of a context, with defaults filled in.
-spec start(term()) -> {ok, settings()} | {error, error()}.
start(Given) ->
    check(Given, [
        {context, required, fun context/1},
        {data_dir, required, fun data_dir/1},
        {aggregates, required, fun aggregates/1},
        {steps, #{}, fun steps/1},
        {shards, 16, fun(N) -> integer(N, 1, ?MAX_SHARDS) end},
        {mode, actor, fun(M) -> one_of(M, [actor, read_through]) end},
        {durability, full, fun(D) -> one_of(D, [full, normal]) end},
        {file_access, owner, fun(A) -> one_of(A, [owner, umask]) end},
        {cluster, single_node, fun(C) -> one_of(C, [single_node]) end},
        {projections, none, fun warp_projection_options:check/1},
        {snapshot_every, 1000, fun(N) -> integer(N, 1, infinity) end},
        {idle_timeout, 60000, fun timeout/1},
        {max_pending, 10000, fun(N) -> integer(N, 1, ?MAX_PENDING) end}
    ]).

%% @doc The options of an append.
-spec call(term()) -> {ok, #{expected := any | no_stream | warp_core:seq(), timeout := timeout()}}
    | {error, error()}.
call(Given) when Given =:= #{} ->
    {ok, #{expected => any, timeout => ?CALL_TIMEOUT_MS}};
call(Given) ->
    check(Given, [{expected, any, fun expected/1}, {timeout, ?CALL_TIMEOUT_MS, fun timeout/1}]).

%% @doc The options of a decide.
-spec decide(term()) -> {ok, #{timeout := timeout()}} | {error, error()}.
decide(Given) ->
    check(Given, [{timeout, ?CALL_TIMEOUT_MS, fun timeout/1}]).

%% @doc The options of a read of a state.
-spec read(term()) -> {ok, #{timeout := timeout()}} | {error, error()}.
read(Given) when Given =:= #{} ->
    {ok, #{timeout => ?READ_TIMEOUT_MS}};
read(Given) ->
    check(Given, [{timeout, ?READ_TIMEOUT_MS, fun timeout/1}]).

%% @doc The options of an export, which reads all there is.
-spec export(term()) -> {ok, #{timeout := timeout()}} | {error, error()}.
export(Given) ->
    check(Given, [{timeout, infinity, fun timeout/1}]).

%% @doc Whether the time of an event can be corrected to that one, in microseconds since 1970: it has
%% to take as many bytes in the file as the one that is there.
-spec correction(term(), term()) -> ok | {error, error()}.
correction(Seq, Micros) ->
    case {integer(Seq, 1, 1 bsl 62), integer(Micros, 1 bsl 47, 1 bsl 62 - 1)} of
        {{ok, _}, {ok, _}} -> ok;
        {{error, Why}, _} -> {error, {bad_option, seq, Why}};
        {_, {error, Why}} -> {error, {bad_option, recorded_at, Why}}
    end.

%% @doc The options of a history. A `from' of 0 is the first event, or the last one backward.
-spec history(term()) -> {ok, map()} | {error, error()}.
history(Given) ->
    check(Given, [
        {from, 0, fun seq/1},
        {limit, ?HISTORY_LIMIT, fun seq/1},
        {direction, forward, fun(D) -> one_of(D, [forward, backward]) end},
        {timeout, ?READ_TIMEOUT_MS, fun timeout/1}
    ]).

%% @doc The options of a saga.
-spec saga(term()) ->
    {ok, #{timeout := timeout(), retries := non_neg_integer(), wait := timeout()}}
    | {error, error()}.
saga(Given) ->
    check(Given, [
        {timeout, infinity, fun timeout/1},
        {retries, ?SAGA_RETRIES, fun(N) -> integer(N, 0, ?MAX_SAGA_RETRIES) end},
        {wait, infinity, fun timeout/1}
    ]).

check(Given, Options) when is_map(Given) ->
    case maps:keys(maps:without([Key || {Key, _, _} <- Options], Given)) of
        [] -> each(Options, Given, #{});
        [Unknown | _] -> {error, {unknown_option, Unknown}}
    end;
check(_Given, _Options) ->
    {error, {bad_option, options, not_a_map}}.

each([], _Given, Checked) ->
    {ok, Checked};
each([{Key, Default, Check} | Options], Given, Checked) ->
    case Given of
        #{Key := Value} ->
            case Check(Value) of
                {ok, Right} -> each(Options, Given, Checked#{Key => Right});
                {error, Why} -> {error, {bad_option, Key, Why}}
            end;
        #{} when Default =:= required ->
            {error, {missing_option, Key}};
        #{} ->
            each(Options, Given, Checked#{Key => Default})
    end.

%% The name is a folder: it has to be one on every system, and no path.
context(Name) ->
    case is_binary(Name) andalso re:run(Name, "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", [dollar_endonly]) of
        {match, _} when byte_size(Name) =< ?MAX_NAME_BYTES -> {ok, Name};
        {match, _} -> {error, {too_long, byte_size(Name), ?MAX_NAME_BYTES}};
        nomatch -> {error, only_letters_digits_underscore_dot_dash};
        false -> {error, not_a_binary}
    end.

%% A binary is a path in the file system's own encoding already; so is what comes of it.
data_dir(Dir) when Dir =:= ""; Dir =:= <<>>; not is_list(Dir), not is_binary(Dir) ->
    {error, not_a_path};
data_dir(Dir) ->
    try encoded(absolute(Dir)) of
        Path when is_binary(Path) ->
            case binary:match(Path, <<0>>) of
                nomatch -> {ok, Path};
                _ -> {error, not_a_path}
            end;
        _ ->
            {error, not_a_path}
    catch
        error:_ -> {error, not_a_path}
    end.

%% The working directory is asked for only where it is needed: a server of the VM tells it, which
%% slow files elsewhere can hold up.
absolute(Dir) ->
    case filename:pathtype(Dir) of
        absolute -> filename:join([Dir]);
        _ -> filename:absname(Dir)
    end.

encoded(Path) when is_binary(Path) -> Path;
encoded(Path) -> unicode:characters_to_binary(Path, unicode, file:native_name_encoding()).

aggregates([]) ->
    {error, empty};
aggregates(List) when is_list(List) ->
    try lists:foldl(fun add_aggregate/2, #{}, List) of
        ByName -> {ok, ByName}
    catch
        throw:Why -> {error, Why};
        error:function_clause -> {error, not_a_list}
    end;
aggregates(_) ->
    {error, not_a_list}.

add_aggregate(#{name := Name} = Aggregate, ByName) when is_binary(Name) ->
    _ = [throw({Name, name, empty}) || Name =:= <<>>],
    Size = byte_size(Name),
    _ = [throw({Name, name, {too_long, Size, ?MAX_AGGREGATE_BYTES}}) || Size > ?MAX_AGGREGATE_BYTES],
    _ = [throw({name, not_utf8}) || not is_list(unicode:characters_to_list(Name))],
    _ = [throw({Name, name, reserved}) || binary:part(Name, 0, min(5, Size)) =:= <<"$warp">>],
    _ = [throw({duplicate_name, Name}) || is_map_key(Name, ByName)],
    _ = [throw({Name, initial_state, missing}) || not is_map_key(initial_state, Aggregate)],
    maps:foreach(
        fun(Key, Value) -> _ = [throw({Name, Key, Why}) || Why <- field(Key, Value)] end, Aggregate),
    ByName#{Name => maps:map(fun lasting/2, Aggregate)};
add_aggregate(#{name := _}, _ByName) ->
    throw({name, not_a_binary});
add_aggregate(#{}, _ByName) ->
    throw({name, missing});
add_aggregate(_, _ByName) ->
    throw(not_a_map).

lasting(Key, Fun) when Key =:= apply; Key =:= validate; Key =:= migrate; Key =:= project ->
    warp_function:lasting(Fun);
lasting(_Key, Value) ->
    Value.

%% What is wrong with a field of an aggregate.
field(name, _) -> [];
field(initial_state, _) -> [];
field(version, V) when is_integer(V), V > 0, V < 1 bsl 32 -> [];
field(version, _) -> [not_a_positive_integer];
field(Key, F) when Key =:= apply; Key =:= validate; Key =:= migrate -> [{not_a_function, 2} || not is_function(F, 2)];
field(project, F) -> [{not_a_function, 3} || not is_function(F, 3)];
field(_, _) -> [unknown_field].

%% Functions that steps of sagas name.
steps(ByName) when is_map(ByName) ->
    Wrong = [{Name, step(Name, Fun)} || {Name, Fun} <- maps:to_list(ByName), step(Name, Fun) =/= ok],
    case Wrong of
        [] -> {ok, maps:map(fun(_Name, Fun) -> warp_function:lasting(Fun) end, ByName)};
        [Why | _] -> {error, Why}
    end;
steps(_) ->
    {error, not_a_map}.

step(<<>>, _Fun) -> name_is_empty;
step(Name, _Fun) when not is_binary(Name) -> name_is_not_a_binary;
step(Name, _Fun) when byte_size(Name) > ?MAX_AGGREGATE_BYTES -> name_is_too_long;
step(Name, Fun) when is_function(Fun, 2); is_function(Fun, 3) ->
    case unicode:characters_to_list(Name) of
        Text when is_list(Text) -> ok;
        _ -> name_is_not_utf8
    end;
step(_Name, _Fun) -> {not_a_function, 2, 3}.

expected(any) -> {ok, any};
expected(no_stream) -> {ok, no_stream};
expected(Seq) when is_integer(Seq), Seq >= 0 -> {ok, Seq};
expected(_) -> {error, not_any_no_stream_or_a_seq}.

%% No log ends there: what is beyond means the same, and would not fit the file's integers.
seq(N) when is_integer(N), N > 1 bsl 62 -> {ok, 1 bsl 62};
seq(N) -> integer(N, 1, infinity).

timeout(infinity) -> {ok, infinity};
timeout(Millis) -> integer(Millis, 0, 1 bsl 32 - 1).

integer(N, Min, Max) when is_integer(N), N >= Min, N =< Max -> {ok, N};
integer(_, Min, infinity) -> {error, {not_an_integer_from, Min}};
integer(_, Min, Max) -> {error, {not_an_integer_between, Min, Max}}.

one_of(Value, Values) ->
    case lists:member(Value, Values) of
        true -> {ok, Value};
        false -> {error, {not_one_of, Values}}
    end.
