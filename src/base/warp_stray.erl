%% @private What a process gets that it has no use for: a message of somebody who took it for another
%% process, a late answer, a request that it does not know. It is ignored, and said in the log, once.
-module(warp_stray).

-export([note/3, shape/1]).

-include_lib("kernel/include/logger.hrl").

%% How much of a term is shown.
-define(DEPTH, 2).
-define(WIDTH, 6).

%% @doc Says in the log that the calling process ignored a term, unless it has said so of any term
%% before. `Process' names what the process is, such as `warp_saga_keeper'. Of the term only the shape
%% is shown, since it may hold data of users.
-spec note(Process :: atom(), Kind :: call | cast | message, Term :: term()) -> ok.
note(Process, Kind, Term) ->
    case erlang:put(?MODULE, noted) of
        undefined ->
            ?LOG_WARNING("Warp: the process ~tp (~ts) ignores a ~ts that it does not know: ~ts. "
                         "It says so only once.",
                         [self(), Process, word(Kind), shape(Term)]);
        noted ->
            ok
    end.

word(call) -> <<"request">>;
word(cast) -> <<"cast">>;
word(message) -> <<"message">>.

%% @doc The shape of a term, as text: its atoms, and of all else only the type and the size.
-spec shape(term()) -> unicode:chardata().
shape(Term) ->
    shape(Term, ?DEPTH).

shape(Term, _) when is_atom(Term) -> io_lib:format("~0tp", [Term]);
shape(Term, _) when is_binary(Term) -> sized("binary", byte_size(Term), "bytes");
shape(Term, _) when is_bitstring(Term) -> "bitstring";
shape(Term, _) when is_integer(Term) -> "integer";
shape(Term, _) when is_float(Term) -> "float";
shape(Term, _) when is_pid(Term) -> "pid";
shape(Term, _) when is_reference(Term) -> "reference";
shape(Term, _) when is_port(Term) -> "port";
shape(Term, _) when is_function(Term) -> "function";
shape(Term, _) when is_map(Term) -> sized("map", map_size(Term), "keys");
shape([], _) -> "[]";
shape(Term, _) when is_list(Term) -> "list";
shape(Term, 0) -> sized("tuple", tuple_size(Term), "elements");
shape(Term, Depth) ->
    Shown = [shape(element(N, Term), Depth - 1)
             || N <- lists:seq(1, min(?WIDTH, tuple_size(Term)))],
    More = ["..." || tuple_size(Term) > ?WIDTH],
    ["{", lists:join(", ", Shown ++ More), "}"].

sized(Type, Size, Of) ->
    [Type, " of ", integer_to_list(Size), " ", Of].
