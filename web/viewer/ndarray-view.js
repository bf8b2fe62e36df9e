// The constructor of ndarray's views of one type and dimension. ndarray compiles it with `new Function`, which our content
// security policy forbids; segmentations need it. constructors: those of this type, by dimension + 1; order: ndarray's own.
(dtype, dimension, constructors, order) => {
  const generic = dtype === 'generic';
  const isNumber = value => typeof value === 'number';

  class Nil {
    constructor(data) {
      this.data = data;
    }
    index() {
      return -1;
    }
    get() {}
    set() {}
    pick() {
      return null;
    }
    lo() {
      return new Nil(this.data);
    }
  }
  Object.assign(Nil.prototype, { dtype, dimension: -1, size: 0, shape: [], stride: [], order: [] });
  for (const name of ['hi', 'step', 'transpose']) Nil.prototype[name] = Nil.prototype.lo;
  if (dimension < 0) return data => new Nil(data);

  class View {
    constructor(data, shape, stride, offset) {
      this.data = data;
      this.shape = Array.from(shape);
      this.stride = Array.from(stride);
      this.offset = offset | 0;
    }
    get size() {
      return this.shape.reduce((size, extent) => size * extent, 1);
    }
    get order() {
      return order.call(this);
    }
    index(...at) {
      return this.stride.reduce((sum, stride, axis) => sum + stride * at[axis], this.offset);
    }
    get(...at) {
      const place = this.index(...at);
      return generic ? this.data.get(place) : this.data[place];
    }
    set(...at) {
      const place = this.index(...at);
      const value = at[dimension];
      return generic ? this.data.set(place, value) : (this.data[place] = value);
    }
    hi(...ends) {
      const shape = this.shape.map((extent, axis) =>
        !isNumber(ends[axis]) || ends[axis] < 0 ? extent : ends[axis] | 0
      );
      return new View(this.data, shape, this.stride, this.offset);
    }
    lo(...starts) {
      const view = new View(this.data, this.shape, this.stride, this.offset);
      starts.slice(0, dimension).forEach((start, axis) => {
        if (!isNumber(start) || start < 0) return;
        view.offset += view.stride[axis] * (start | 0);
        view.shape[axis] -= start | 0;
      });
      return view;
    }
    step(...steps) {
      const view = new View(this.data, this.shape, this.stride, this.offset);
      steps.slice(0, dimension).forEach((given, axis) => {
        if (!isNumber(given)) return;
        const step = given | 0;
        if (step < 0) view.offset += view.stride[axis] * (view.shape[axis] - 1);
        view.shape[axis] = Math.ceil(view.shape[axis] / Math.abs(step));
        view.stride[axis] *= step;
      });
      return view;
    }
    transpose(...axes) {
      const from = this.shape.map((_, axis) => (axes[axis] === undefined ? axis : axes[axis] | 0));
      const take = list => from.map(axis => list[axis]);
      return new View(this.data, take(this.shape), take(this.stride), this.offset);
    }
    pick(...at) {
      const kept = this.shape.map((_, axis) => axis).filter(axis => !isNumber(at[axis]) || at[axis] < 0);
      const offset = this.stride.reduce(
        (sum, stride, axis) => (kept.includes(axis) ? sum : sum + stride * at[axis]),
        this.offset
      );
      if (dimension === 0) return constructors[0](this.data);
      const take = list => kept.map(axis => list[axis]);
      return constructors[kept.length + 1](this.data, take(this.shape), take(this.stride), offset);
    }
  }
  Object.assign(View.prototype, { dtype, dimension });
  if (dimension === 0) View.prototype.valueOf = View.prototype.get;
  if (dimension === 2 && !generic) {
    // Two dimensions of bytes are what segmentations are made of, pixel by pixel.
    View.prototype.get = function (row, column) {
      return this.data[this.offset + this.stride[0] * row + this.stride[1] * column];
    };
    View.prototype.set = function (row, column, value) {
      return (this.data[this.offset + this.stride[0] * row + this.stride[1] * column] = value);
    };
  }
  return (data, shape, stride, offset) => new View(data, shape, stride, offset);
}
