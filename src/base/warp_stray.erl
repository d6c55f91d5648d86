%% @private Messages that a process does not know: a message that was meant for another process, a late answer, an
%% unknown request. The process ignores them, and logs that once.
-module(warp_stray).

-export([note/3, shape/1]).

-include_lib("kernel/include/logger.hrl").

%% How many levels of a term, and how many elements of a tuple, are shown.
-define(DEPTH, 2).
-define(WIDTH, 6).

%% @doc Logs that the calling process ignored a term, unless it has logged that of any term before. `Process' names
%% the kind of process, such as `warp_saga_keeper'. The log shows only the shape of the term, which may hold data of
%% users.
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

%% @doc The shape of a term as text: its atoms, and the type and size of everything else.
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
