%% @private A user's query on the embedded projection, on the side of its caller: sends the request to a pool
%% of programs that read the file ({@link warp_projection_query_pool}), and collects the answer. The programs
%% read the form of a request in `native/warp_query/src/request.rs' and write that of an answer in `term.rs'.
-module(warp_projection_query).

-export([run/4]).

%% How long a caller waits for the pool after the timeout of its query. The pool answers in time, unless it
%% is held up itself.
-define(GRACE_MS, 100).

%% @doc Runs a query. Errors are those of a target's `query', and `{query_too_large, MaxBytes}': it
%% needs more memory than a query may have.
-spec run(warp_context:context(), binary(), [warp_projection_target:value()],
          warp_projection_target:query_options()) ->
    {ok, warp_projection_target:result()} | {error, term()}.
run(Context, Sql, Params, #{max_rows := MaxRows, timeout := Timeout}) ->
    Deadline = warp_deadline:from(Timeout),
    %% There is a target once the writer has opened the file.
    case {warp_projection_table:target(Context), warp_projection_table:process(Context, queries)} of
        {{ok, _}, {ok, Pool}} -> ask(Context, Pool, Deadline, request(MaxRows, Sql, Params));
        _ -> {error, {away, not_reached_yet}}
    end.

request(MaxRows, Sql, Params) ->
    [<<MaxRows:64, (byte_size(Sql)):32>>, Sql, <<(length(Params)):32>> | [param(P) || P <- Params]].

param(null) -> <<0>>;
param(Number) when is_integer(Number) -> <<1, Number:64>>;
param(Number) when is_float(Number) -> <<2, Number:64/float>>;
param(Text) -> [<<3, (byte_size(Text)):32>>, Text].

ask(Context, Pool, Deadline, Request) ->
    Ref = erlang:monitor(process, Pool, [{alias, explicit_unalias}]),
    ok = warp_projection_query_pool:ask(Pool, Ref, Deadline, Request),
    Answer = collect(Ref, Deadline + ?GRACE_MS, []),
    _ = erlang:unalias(Ref),
    true = erlang:demonitor(Ref, [flush]),
    ok = forget(Ref),
    case Answer of
        down ->
            case warp_context:find(maps:get(ref, Context)) of
                {ok, _} -> {error, {away, interrupted}};
                not_found -> {error, context_stopped}
            end;
        _ ->
            Answer
    end.

collect(Ref, Until, Parts) ->
    receive
        {Ref, <<_, 0, Term/binary>>} ->
            collect(Ref, Until, [binary_to_term(Term, [safe]) | Parts]);
        {Ref, <<_, 1, Terms/binary>>} ->
            {Rows, Used} = binary_to_term(Terms, [safe, used]),
            <<_:Used/binary, Rest/binary>> = Terms,
            {ok, #{columns => binary_to_term(Rest, [safe]),
                   rows => lists:append(lists:reverse(Parts, [Rows]))}};
        {Ref, <<_, 2, Term/binary>>} ->
            {error, binary_to_term(Term, [safe])};
        {Ref, {error, _} = Error} ->
            Error;
        {'DOWN', Ref, process, _, _} ->
            down
    after warp_deadline:left(Until) ->
        {error, timeout}
    end.

%% Drops parts of an answer that came after the wait had ended.
forget(Ref) ->
    receive {Ref, _} -> forget(Ref) after 0 -> ok end.
