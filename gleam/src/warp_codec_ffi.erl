%% Constructors of Gleam's types, which are atoms and tuples that begin with one.
-module(warp_codec_ffi).

-export([shape_made_by/1, shape_of/1]).

-type shape() :: {atom(), pos_integer()} | atom().

%% @doc The shape of what a constructor makes: a function, or the value of a constructor without fields.
%%
%% Called with references, a constructor returns them as they are, in their order. Another function computes
%% with what it is given, or returns something else: the fields could not be read from its result.
-spec shape_made_by(fun() | term()) -> {ok, shape()} | {error, nil}.
shape_made_by(Constructor) when is_function(Constructor) ->
    {arity, Arity} = erlang:fun_info(Constructor, arity),
    Fields = [make_ref() || _ <- lists:seq(1, Arity)],
    try tuple_to_list(apply(Constructor, Fields)) of
        [Name | Fields] when is_atom(Name) -> {ok, {Name, Arity + 1}};
        _ -> {error, nil}
    catch
        error:_ -> {error, nil}
    end;
shape_made_by(Constructor) when is_atom(Constructor) ->
    {ok, Constructor};
shape_made_by(_Other) ->
    {error, nil}.

%% @doc What tells the constructors of a type apart.
-spec shape_of(term()) -> shape() | term().
shape_of(Event) when is_tuple(Event), tuple_size(Event) > 0 -> {element(1, Event), tuple_size(Event)};
shape_of(Event) -> Event.
