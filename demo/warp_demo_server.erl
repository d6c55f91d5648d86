%% make server: a server with a context of accounts, and what to type to use it. Its data and its token stay for the
%% next start.
-module(warp_demo_server).

-export([main/0]).

-import(warp_demo_text, [say/1]).

-spec main() -> no_return().
main() ->
    case options(init:get_plain_arguments(), #{port => 9090, dir => default_dir(), json => false}) of
        {ok, Options} ->
            serve(Options);
        usage ->
            io:format(standard_error,
                      "usage: make server [ARGS=\"[--port N] [--data DIR] [--json]\"]~n~n"
                      "  --port N     default: 9090; 0 is any free port~n"
                      "  --data DIR   default: _build/demo-server~n"
                      "  --json       print port and token for a program, and end with the standard input~n", []),
            halt(2)
    end.

options([], Options) -> {ok, Options};
options(["--port", Text | Words], Options) ->
    case string:to_integer(Text) of
        {Port, ""} when Port >= 0, Port < 65536 -> options(Words, Options#{port := Port});
        _ -> usage
    end;
options(["--data", Dir | Words], Options) -> options(Words, Options#{dir := filename:absname(Dir)});
options(["--json" | Words], Options) -> options(Words, Options#{json := true});
options(_, _) -> usage.

default_dir() -> filename:join([warp_demo_text:root(), "_build", "demo-server"]).

serve(#{port := Port, dir := Dir, json := Json}) ->
    Token = token(filename:join(Dir, "token")),
    _ = process_flag(trap_exit, true),
    %% What goes wrong at the start is said below.
    ok = logger:add_primary_filter(no_reports, {fun logger_filters:domain/2, {stop, sub, [otp, sasl]}}),
    case warp_server:start_link(server(Dir, Token, Port)) of
        {ok, Server} ->
            [{_, Bound} | _] = warp_server:addresses(Server),
            explain(Json, Bound, Token),
            _ = [spawn_link(fun() -> ended_with_input(Server) end) || Json],
            receive {'EXIT', Server, Why} -> failed(Why) end;
        {error, Why} ->
            failed(Why)
    end.

%% A VM that was started with `-noinput' reads no input by itself.
ended_with_input(Server) ->
    Input = open_port({fd, 0, 0}, [in, eof]),
    receive {Input, eof} -> ok end,
    ok = warp_server:stop(Server),
    halt(0).

-spec failed(term()) -> no_return().
failed(Why) ->
    io:format(standard_error, "The server ended: ~ts~n", [warp_server:format_error(Why)]),
    halt(1).

server(Dir, Token, Port) ->
    Hash = binary:encode_hex(crypto:hash(sha256, Token)),
    #{contexts => [#{name => <<"bank">>, data_dir => Dir, module => warp_demo_bank}],
      listeners => [#{address => <<"127.0.0.1">>, port => Port}],
      tokens => [#{id => <<"demo">>, sha256 => string:lowercase(Hash), scopes => [#{operations => all}]}]}.

%% The same one at each start. Only this user can read it.
token(File) ->
    case file:read_file(File) of
        {ok, Token} ->
            Token;
        {error, enoent} ->
            Token = warp_server:new_token(),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, <<>>),
            ok = file:change_mode(File, 8#600),
            ok = file:write_file(File, Token),
            Token
    end.

explain(true, Port, Token) ->
    {ok, Json} = warp_json:encode(#{port => Port, token => Token}, 1000),
    io:format("~ts~n", [Json]);
explain(false, Bound, Token) ->
    Port = integer_to_list(Bound),
    Url = ["http://localhost:", Port, "/v1/contexts/bank"],
    say(["Warp serves the context bank on 127.0.0.1:", Port, ". Ctrl-C ends it, and its data stays.\n\n",
         "In another shell:\n\n",
         "  export WARP_TOKEN=", Token, "\n\n",
         "  curl -H \"Authorization: Bearer $WARP_TOKEN\" -H 'Content-Type: application/json' \\\n",
         "       -d '{\"type\": \"Credited\", \"payload\": {\"amount\": 5000}}' \\\n",
         "       ", Url, "/entities/user%2Falice/events\n\n",
         "  curl -H \"Authorization: Bearer $WARP_TOKEN\" ", Url, "/entities/user%2Falice/states/Account\n\n",
         "In TypeScript (clients/typescript):\n\n",
         "  import { Warp } from \"warp-db\"\n\n",
         "  const db = new Warp({ host: \"localhost\", port: ", Port, " })      // the token is WARP_TOKEN\n",
         "  const alice = db.entity(\"user/alice\")\n",
         "  await alice.append(\"Debited\", { amount: 1000 }, { aggregate: \"Account\" })\n",
         "  console.log(await alice.get(\"Account\"))\n"]).
