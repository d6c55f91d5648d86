defmodule Warp.EventTest do
  use ExUnit.Case, async: true
  alias Order.{Paid, Placed}

  setup do
    {:ok, shop} = Warp.Test.start(aggregates: [Order, Notes], projections: :embedded)
    on_exit(fn -> Warp.Test.stop(shop) end)
    [shop: shop, order: Warp.entity(shop, "order-1")]
  end

  @placed %Placed{
    note: nil,
    anything: %{"a" => [nil, 1]},
    customer: "ann",
    count: 2,
    weight: 0.5,
    size: 3,
    gift: true,
    state: :open,
    days: [~D[2026-01-01]],
    tags: %{"colour" => nil},
    on: ~D[2026-01-02],
    at: ~T[10:00:00.5],
    local: ~N[2026-01-02 10:00:00.000001],
    when: ~U[2026-01-02 10:00:00.120Z],
    price: %Money{amount: 5, currency: "EUR"},
    total: %Decimal{sign: -1, coef: 120, exp: -2},
    colour: {1, 2, 3},
    secret: "not stored"
  }

  test "an event comes back as it went in, in the state, in the history and after a restart of its process", ctx do
    assert Warp.append(ctx.order, @placed) == {:ok, 1}
    assert Warp.get(ctx.order, Order) === {:ok, [@placed]}
    {:ok, pid} = Warp.pid(ctx.order)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, _, _, _}
    assert Warp.get(ctx.order, Order) === {:ok, [@placed]}
    assert {:ok, [%{type: "Placed", payload: @placed, aggregate: "Order"}]} = Warp.history(ctx.order)
  end

  test "nothing is stored that the codec does not name", ctx do
    Warp.append!(ctx.order, %{@placed | secret: "hidden"})
    {:ok, [%{payload: payload}]} = Warp.export(ctx.order)
    refute Map.has_key?(payload, "secret")
    assert payload["note"] === nil
    assert payload["when"] == "2026-01-02T10:00:00.120Z"
    assert Warp.get(ctx.order, Order) === {:ok, [@placed]}
  end

  test "an export can be appended elsewhere", ctx do
    Warp.append_batch(ctx.order, [@placed, %Paid{by: "ann"}])
    {:ok, exported} = Warp.export(ctx.order)

    Warp.Test.run([aggregates: [Order]], fn shop ->
      order = Warp.entity(shop, "order-1")
      assert {:ok, {1, 2}} = Warp.append_batch(order, exported)
      assert Warp.get!(order, Order) == [%Paid{by: "ann"}, @placed]
    end)
  end

  test "an event that is wrong is refused, and says where", ctx do
    assert {:error, {:bad_event, 2, :payload, {:not_json, why}}} =
             Warp.append_batch(ctx.order, [@placed, %{@placed | price: %Money{amount: 1.5}}])

    assert why == "Order.Placed.price.amount is not of the type :integer: 1.5"
    assert Warp.format_error({:bad_event, 2, :payload, {:not_json, why}}) =~ "Event 2 (counted from 1)"
    assert Warp.history(ctx.order) == {:ok, []}
  end

  test "a struct without a codec is refused by name, and says what to do", ctx do
    for event <- [~D[2026-01-01], %{payload: ~D[2026-01-01]}] do
      assert {:error, {:bad_event, 1, :payload, {:not_json, why}}} = Warp.append(ctx.order, event)
      assert why == "Date is no event: `use Warp.Event` in it says which of its fields are stored"
      request = Warp.append_request(ctx.order, event)
      assert {:error, {:bad_event, 1, :payload, {:not_json, ^why}}} = Warp.receive_response(request, 1000)
      request = Warp.append_batch_request(ctx.order, [event])
      assert {:error, {:bad_event, 1, :payload, {:not_json, ^why}}} = Warp.receive_response(request, 1000)
      decided = Warp.decide(ctx.order, Order, fn _ -> {:ok, [event]} end)
      assert decided == {:error, {:bad_event, 1, :payload, {:not_json, why}}}
    end

    assert {:error, {:bad_event, 1, :payload, {:not_json, "struct 'Elixir.Date' at a"}}} =
             Warp.append(ctx.order, %{type: "T", aggregate: "Notes", payload: %{a: ~D[2026-01-01]}})
  end

  test "events of several aggregates find theirs", ctx do
    assert {:ok, 1} = Warp.append(ctx.order, %Paid{by: "ann"})
    assert {:ok, 2} = Warp.append(ctx.order, %{type: "Noted", payload: %{a: nil}, aggregate: Notes})
    assert {:ok, 3} = Warp.append(ctx.order, %{type: "Paid", payload: %{by: "bob", amount: 7}, aggregate: "Order"})
    assert {:error, {:bad_event, 1, :aggregate, :required}} = Warp.append(ctx.order, %Account.Deposited{amount: 1})

    assert {:ok, [4, 5]} =
             Warp.decide(ctx.order, Notes, fn _ -> {:ok, [%Paid{by: "eve"}, %{type: "Seen", payload: %{}}]} end)

    assert [%Paid{by: "eve"}, %Paid{by: "bob", amount: 7}, %Paid{by: "ann"}] = Warp.get!(ctx.order, Order)
    assert {"Seen", %{}, %{}} = Warp.get!(ctx.order, Notes)
  end

  test "null is nil in payloads, metadata, states and rows", ctx do
    event = %{type: "Noted", payload: %{a: nil, b: [nil, %{c: nil}]}, metadata: %{by: nil}, aggregate: Notes}
    Warp.append!(ctx.order, event)
    payload = %{"a" => nil, "b" => [nil, %{"c" => nil}]}
    assert Warp.get!(ctx.order, Notes) === {"Noted", payload, %{"by" => nil}}

    for {:ok, [read]} <- [Warp.history(ctx.order), Warp.export(ctx.order)] do
      assert read.payload === payload
      assert read.metadata === %{"by" => nil}
    end

    assert Warp.query(ctx.shop, "SELECT ? AS a, 1 AS b", [nil]) == {:ok, %{columns: ["a", "b"], rows: [[nil, 1]]}}
  end

  test "rows of a projection have nil and dates", ctx do
    Warp.append!(ctx.order, @placed)
    assert Warp.await_projection(ctx.order, 5000) == :ok
    sql = "SELECT customer, note, placed FROM orders"

    assert Warp.query(ctx.shop, sql) ==
             {:ok, %{columns: ["customer", "note", "placed"], rows: [["ann", nil, "2026-01-02"]]}}

    assert {:ok, %{rows: [["ann", 1]]}} = Warp.query(ctx.shop, "SELECT id, orders FROM customers")
    Warp.append!(ctx.order, %Paid{by: "ann"})
    assert Warp.await_projection(ctx.order, 5000) == :ok
    assert {:ok, %{rows: []}} = Warp.query(ctx.shop, sql)
    assert {:ok, %{state: :up}} = Warp.Projection.status(ctx.shop)
  end

  describe "when an event has changed" do
    defp decoded(payload, module), do: module.decode(payload)

    test "a new field gets its default, unless it is enforced" do
      assert decoded(%{"by" => "ann"}, Paid) == {:ok, %Paid{by: "ann", amount: 1}}
      assert {:error, "lacks by, and the struct has @enforce_keys" <> _} = decoded(%{"amount" => 3}, Paid)
    end

    test "a field that is gone is an error, unless it is to be ignored" do
      assert {:error, ".payer is stored, and no field" <> _} = decoded(%{"by" => "ann", "payer" => 1}, Paid)
      assert {:ok, %Placed{customer: "ann"}} = decoded(%{"customer" => "ann", "old" => 1}, Placed)
    end

    test "what cannot be decoded is not stored, and the error names it", ctx do
      event = %{type: "Paid", payload: %{payer: "ann"}, aggregate: Order}
      assert {:error, {:migrate_failed, {:error, %Warp.DecodeError{}, _}} = reason} = Warp.append(ctx.order, event)
      assert Warp.format_error(reason) =~ "event 1, Paid: .payer is stored, and no field"
      assert {:error, reason} = Warp.append(ctx.order, %{event | type: "Sold"})
      assert Warp.format_error(reason) =~ "event 1, Sold: Order has no such event"
      assert Warp.history(ctx.order) == {:ok, []}
    end
  end

  describe "a module that is no event does not compile" do
    for {title, options, body, says} <- [
          {"without a type", [fields: []], "defstruct []", "give the type"},
          {"without fields", [type: "T"], "defstruct []", "give its fields"},
          {"without a struct", [type: "T", fields: []], "", "define its struct"},
          {"with a field that the struct lacks", [type: "T", fields: [:a]], "defstruct [:b]", "has no field a"},
          {"with a type that does not exist", [type: "T", fields: [a: :text]], "defstruct [:a]", "has the type :text"},
          {"with a field twice", [type: "T", fields: [:a, a: Date]], "defstruct [:a]", "stands twice"},
          {"with an unknown option", [type: "T", fields: [], only: []], "defstruct []", "there is no option :only"}
        ] do
      test title do
        code = """
        defmodule Warp.EventTest.Wrong#{System.unique_integer([:positive])} do
          use Warp.Event, #{unquote(inspect(options))}
          #{unquote(body)}
        end
        """

        error = assert_raise CompileError, fn -> Code.eval_string(code) end
        assert Exception.message(error) =~ unquote(says)
      end
    end
  end
end
