defmodule Warp.AggregateTest do
  use ExUnit.Case, async: true

  defmodule Renamed do
    use Warp.Event, type: "Renamed", fields: [name: :string]
    defstruct [:name]
  end

  defmodule Called do
    use Warp.Event, type: "Called", fields: [name: :string]
    defstruct [:name]
  end

  # As an older version of the application had it.
  defmodule OldPerson do
    use Warp.Aggregate, name: "Person", events: [Called]
    defstruct [:name]
    @impl true
    def apply(person, %Called{name: name}), do: %{person | name: name}
  end

  defmodule Person do
    use Warp.Aggregate, name: "Person", events: [Renamed], version: 2
    defstruct [:name, versions: []]

    @impl true
    def migrate(%{type: "Called", payload: %{"name" => name}} = event, 1),
      do: %{event | type: "Renamed", payload: %{"name" => name && String.upcase(name)}}

    @impl true
    def apply(_person, %Renamed{name: "crash"}), do: raise("no such name")
    def apply(person, %Renamed{name: name}), do: %{person | name: name, versions: [name | person.versions]}
  end

  defmodule PureLog do
    use Warp.Aggregate, name: "PureLog", events: [Called], initial_state: :nothing
  end

  defp tmp(name) do
    dir = Path.join(System.tmp_dir!(), "warp-#{name}-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    dir
  end

  test "a definition has the callbacks that there are, as functions that outlast a reload" do
    assert {:ok, definition} = Warp.Aggregate.definition(Account)
    assert %{name: "Account", version: 1, initial_state: %Account{balance: 0}} = definition

    assert Enum.sort(Map.keys(definition)) ==
             [:aliases, :apply, :initial_state, :migrate, :name, :validate, :version]

    for key <- [:apply, :migrate, :validate],
        do: assert(Function.info(definition[key], :type) == {:type, :external})

    assert {:ok, %{project: project}} = Warp.Aggregate.definition(Order)
    assert is_function(project, 3)
  end

  test "older events are migrated, and new ones are not" do
    options = [context: "people", data_dir: tmp("migrate"), shards: 1, durability: :normal]
    {:ok, old} = Warp.start([aggregates: [OldPerson]] ++ options)
    Warp.append_batch(Warp.entity(old, "ann"), [%Called{name: "ann"}, %Called{name: nil}])
    assert Warp.get!(Warp.entity(old, "ann"), OldPerson) == %OldPerson{name: nil}
    :ok = Warp.stop(old)

    {:ok, new} = Warp.start([aggregates: [Person]] ++ options)
    ann = Warp.entity(new, "ann")
    assert Warp.get!(ann, Person).versions == [nil, "ANN"]
    assert {:ok, 3} = Warp.append(ann, %Renamed{name: "anna"})
    assert Warp.get!(ann, "Person") == %Person{name: "anna", versions: ["anna", nil, "ANN"]}
    assert {:ok, [%{payload: %Renamed{name: "ANN"}, type: "Renamed", schema_vsn: 1}, _, _]} = Warp.history(ann)
    assert {:ok, [%{payload: %{"name" => "ann"}, type: "Called"}, _, %{schema_vsn: 2}]} = Warp.export(ann)

    assert {:error, {:apply_failed, {:error, %RuntimeError{}, [{Person, :apply, 2, _} | _]}} = reason} =
             Warp.append(ann, %Renamed{name: "crash"})

    assert Warp.format_error(reason) == "apply crashed: no such name"
    :ok = Warp.stop(new)
  end

  test "a context goes on with the newest code of a module that is reloaded" do
    code = fn factor ->
      """
      defmodule Warp.AggregateTest.Reloaded do
        use Warp.Aggregate, name: "Reloaded", initial_state: 0
        @impl true
        def apply(sum, %{payload: %{"n" => n}}), do: sum + #{factor} * n
      end
      """
    end

    Code.compiler_options(ignore_module_conflict: true)
    [{module, _}] = Code.compile_string(code.(1))

    Warp.Test.run([aggregates: [module]], fn ctx ->
      one = Warp.entity(ctx, "one")
      Warp.append!(one, %{type: "Counted", payload: %{n: 1}})

      for factor <- [10, 100, 1000] do
        Code.compile_string(code.(factor))
        Warp.append!(one, %{type: "Counted", payload: %{n: 1}})
      end

      assert Warp.get!(one, module) == 1111
    end)
  end

  test "a pure log has its initial state" do
    Warp.Test.run([aggregates: [PureLog]], fn ctx ->
      one = Warp.entity(ctx, "one")
      assert {:ok, 1} = Warp.append(one, %Called{name: "x"})
      assert Warp.get(one, PureLog) == {:ok, :nothing}
      assert {:error, {:migrate_failed, _}} = Warp.append(one, %Renamed{name: "x"})
      assert {:ok, [%{payload: %Called{name: "x"}}]} = Warp.history(one)
    end)
  end

  test "a definition of warp_core goes on as it is" do
    erlang = %{name: "Erlang", initial_state: nil, apply: fn _, %{payload: payload} -> payload end}

    Warp.Test.run([aggregates: [erlang, Account]], fn ctx ->
      one = Warp.entity(ctx, "one")
      Warp.append!(one, %{type: "T", payload: %{a: nil}, aggregate: "Erlang"})
      Warp.append!(one, %Account.Deposited{amount: 1})
      assert Warp.get!(one, "Erlang") == %{"a" => :null}
      assert Warp.get!(one, Account) == %Account{balance: 1}
    end)
  end

  defmodule TwoOfAType do
    use Warp.Aggregate, name: "TwoOfAType", initial_state: 0, events: [Renamed, Warp.AggregateTest.Other]
  end

  defmodule Other do
    use Warp.Event, type: "Renamed", fields: []
    defstruct []
  end

  defmodule NoEvent do
    use Warp.Aggregate, name: "NoEvent", initial_state: 0, events: [Date]
  end

  defmodule Whole do
    use Warp.Aggregate, name: "Whole", events: [Called], initial_state: []

    @impl true
    def validate(seen, %Called{name: name}, %{seq: seq, metadata: metadata}) when length(seen) < seq,
      do: if(metadata["by"] == name, do: :ok, else: {:error, :somebody_else})

    @impl true
    def apply(seen, %Called{name: name}, %{seq: seq, payload: %Called{}}), do: [{seq, name} | seen]

    @impl true
    def project(id, seen, %Called{name: name}, %{recorded_at: time}),
      do: [
        Warp.Projection.upsert(:calls, id, name: name, count: length(seen), at: DateTime.from_unix!(time, :microsecond))
      ]
  end

  test "callbacks may take the whole event" do
    Warp.Test.run([aggregates: [Whole], projections: :embedded], fn ctx ->
      one = Warp.entity(ctx, "one")
      assert {:error, {:rejected, :somebody_else}} = Warp.append(one, %Called{name: "ann"})
      assert {:ok, 1} = Warp.append(one, %{payload: %Called{name: "ann"}, metadata: %{by: "ann"}})
      assert Warp.get!(one, Whole) == [{1, "ann"}]
      :ok = Warp.await_projection(one, 5000)
      {:ok, [%{recorded_at: time}]} = Warp.history(one)
      at = time |> DateTime.from_unix!(:microsecond) |> DateTime.to_iso8601()
      assert {:ok, %{rows: [["ann", 1, ^at]]}} = Warp.query(ctx, "SELECT name, count, at FROM calls")
    end)
  end

  test "start says what is wrong with an aggregate" do
    for {aggregates, why, text} <- [
          {[Date], {Date, :not_an_aggregate}, "use Warp.Aggregate"},
          {[NoEvent], {NoEvent, :events, {Date, :not_an_event}}, "use Warp.Event"},
          {[TwoOfAType], {TwoOfAType, :events, {:duplicate_name, "Renamed"}}, "has the name Renamed twice"},
          {[Account, Account], {:duplicate_name, "Account"}, "has the name Account twice"},
          {[:no_module], {:no_module, :not_an_aggregate}, "use Warp.Aggregate"}
        ] do
      assert Warp.Test.start(aggregates: aggregates) == {:error, {:bad_option, :aggregates, why}}
      assert Warp.format_error({:bad_option, :aggregates, why}) =~ text
    end

    assert Warp.Test.start(aggregates: []) == {:error, {:bad_option, :aggregates, :empty}}
    assert Warp.Test.start([]) == {:error, {:missing_option, :aggregates}}
    assert Warp.Test.start(aggregates: [Account | :x]) == {:error, {:bad_option, :aggregates, :not_a_list}}
  end

  describe "a module that is no aggregate does not compile" do
    for {title, options, body, says} <- [
          {"without a name", [initial_state: 0], "", "give the name"},
          {"without an initial state", [name: "A"], "", "give its `initial_state`"},
          {"with an unknown option", [name: "A", state: 0], "", "there is no option :state"},
          {"with a callback twice", [name: "A", initial_state: 0], "def apply(a, _), do: a\n def apply(a, _, _), do: a",
           "define apply/2 or apply/3, and not both"}
        ] do
      test title do
        code = """
        defmodule Warp.AggregateTest.Wrong#{System.unique_integer([:positive])} do
          use Warp.Aggregate, #{unquote(inspect(options))}
          #{unquote(body)}
        end
        """

        error = assert_raise CompileError, fn -> Code.eval_string(code) end
        assert Exception.message(error) =~ unquote(says)
      end
    end

    test "a callback that does not exist is a warning" do
      code = """
      defmodule Warp.AggregateTest.Mistyped do
        use Warp.Aggregate, name: "A", initial_state: 0
        @impl true
        def aply(state, _event), do: state
      end
      """

      assert ExUnit.CaptureIO.capture_io(:stderr, fn -> Code.eval_string(code) end) =~ "aply/2"
    end
  end
end
