%% @private What people and programs see: results on the standard output, everything else on the standard error.
%%
%% `bin/warp' says in `WARP_TERMINAL' which of the standard files are terminals.
-module(warp_cli_terminal).

-export([prepare/0, json/0, print/1, flush/0, note/1, progress/1, clear_progress/0, fail/1, confirm/2]).

-define(PROGRESS, {?MODULE, progress}).
%% What is printed and not yet written.
-define(PRINTED, {?MODULE, printed}).
-define(BUFFER_BYTES, 64 * 1024).
-define(JSON, {?MODULE, json}).

%% @doc To be called first.
-spec prepare() -> ok.
prepare() ->
    _ = io:setopts(standard_io, [{encoding, unicode}]),
    _ = io:setopts(standard_error, [{encoding, unicode}]),
    ok.

%% @doc From now on errors are JSON too.
-spec json() -> ok.
json() ->
    _ = put(?JSON, true),
    ok.

%% @doc Writes a part of the result, now or a little later. Raises `output_closed' when nobody reads it, as behind
%% `head'.
-spec print(unicode:chardata()) -> ok.
print(Text) ->
    {Printed, Bytes} = case get(?PRINTED) of undefined -> {[], 0}; Before -> Before end,
    More = unicode:characters_to_binary(Text),
    _ = put(?PRINTED, {[Printed, More], Bytes + byte_size(More)}),
    case Bytes + byte_size(More) >= ?BUFFER_BYTES of
        true -> flush();
        false -> ok
    end.

%% @doc Writes what was printed.
-spec flush() -> ok.
flush() ->
    case erase(?PRINTED) of
        {Printed, _} ->
            ok = clear_progress(),
            try
                io:put_chars(standard_io, Printed)
            catch
                error:_ -> throw(output_closed)
            end;
        undefined ->
            ok
    end.

%% @doc Says something to people that is no part of the result.
-spec note(unicode:chardata()) -> ok.
note(Text) ->
    case get(?JSON) of
        true -> ok;
        undefined -> say(Text)
    end.

say(Text) ->
    ok = flush(),
    ok = clear_progress(),
    error_text([Text, $\n]).

error_text(Text) ->
    try
        io:put_chars(standard_error, unicode:characters_to_binary(Text))
    catch
        error:_ -> ok
    end.

%% @doc Shows how far long work is, where somebody sees it.
-spec progress(unicode:chardata()) -> ok.
progress(Text) ->
    case is_terminal("stderr") of
        true ->
            _ = put(?PROGRESS, shown),
            error_text(["\r", Text, "\e[K"]);
        false ->
            ok
    end.

%% @doc Removes what {@link progress/1} has shown.
-spec clear_progress() -> ok.
clear_progress() ->
    case erase(?PROGRESS) of
        shown -> error_text("\r\e[K");
        undefined -> ok
    end.

%% @doc Says what is wrong, and what to do.
-spec fail(#{reason := binary(), meaning := binary(), to_do := binary()}) -> ok.
fail(#{meaning := Meaning, to_do := ToDo} = Message) ->
    ok = clear_progress(),
    case get(?JSON) of
        true ->
            {ok, Json} = warp_json:encode(#{error => Message}, 1 bsl 30),
            error_text([Json, $\n]);
        undefined ->
            error_text(["warp: ", Meaning, [[$\s, ToDo] || ToDo =/= <<>>], $\n])
    end.

%% @doc Says what is going to happen, and asks, unless the arguments say yes already. Without a terminal nobody can be
%% asked.
-spec confirm(unicode:chardata(), Args :: map()) -> ok.
confirm(Text, #{yes := true}) ->
    say(Text);
confirm(Text, _Args) ->
    ok = say(Text),
    case is_terminal("stdin") andalso is_terminal("stderr") of
        true ->
            ok = error_text("Type yes to go on: "),
            case answer() of
                <<"yes">> -> ok;
                _ -> throw({fail, 2, #{reason => <<"not_confirmed">>, meaning => <<"Nothing was done.">>,
                                       to_do => <<>>}})
            end;
        false ->
            throw({fail, 2, #{reason => <<"not_confirmed">>,
                              meaning => <<"Nothing was done: there is no terminal to ask on.">>,
                              to_do => <<"Give --yes.">>}})
    end.

%% NOTE: the VM runs with -noinput, so that it reads nothing that is not for it.
answer() ->
    Port = open_port({fd, 0, 1}, [in, binary, eof, {line, 80}]),
    receive
        {Port, {data, {_, Line}}} -> string:lowercase(string:trim(Line));
        {Port, eof} -> <<>>
    end.

is_terminal(File) ->
    string:find(os:getenv("WARP_TERMINAL", ""), File) =/= nomatch.
